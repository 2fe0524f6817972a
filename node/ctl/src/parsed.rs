//! Lets clap parse our types. Its own way would quote the whole value in the error, however long it is.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;

use crate::names::{EnvironmentName, Name};

/// Parses a `T` by [`FromStr`]; the error is that of `T`, which quotes with measure.
pub struct Parsed<T>(PhantomData<fn() -> T>);

impl<T> Parsed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Parsed<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> TypedValueParser for Parsed<T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let parsed = match value.to_str() {
            Some(text) => text.parse().map_err(|error: T::Err| error.to_string()),
            None => Err("it is not UTF-8".to_owned()),
        };
        parsed.map_err(|why| {
            let arg = arg.map(|arg| format!("{arg}: ")).unwrap_or_default();
            clap::Error::raw(ErrorKind::ValueValidation, format!("{arg}{why}\n")).with_cmd(command)
        })
    }
}

impl ValueParserFactory for Name {
    type Parser = Parsed<Self>;

    fn value_parser() -> Self::Parser {
        Parsed::new()
    }
}

impl ValueParserFactory for EnvironmentName {
    type Parser = Parsed<Self>;

    fn value_parser() -> Self::Parser {
        Parsed::new()
    }
}
