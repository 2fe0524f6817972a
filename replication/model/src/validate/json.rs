//! JSON as the checks see it: a document is read once as a whole, and after that each value only as far as a
//! check asks. No tree is built, so memory stays near the size of the document whatever is in it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Findings;
use super::path::{Path, Quoted};

/// Reads a whole document: UTF-8, JSON no deeper than 127 levels, no key twice in an object. None if it is not JSON.
pub(super) fn parse<'a>(document: &'a [u8], findings: &mut Findings) -> Option<Node<'a>> {
    let text = match std::str::from_utf8(document) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            findings.error("json/not-utf8", &Path::Root, format_args!("not UTF-8 from byte {at} on"));
            return None;
        }
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let whole = Whole { path: &Path::Root, findings };
    match whole.deserialize(&mut reader).and_then(|()| reader.end()) {
        Ok(()) => Some(Node(text.trim_ascii())),
        Err(error) => {
            findings.error("json/invalid", &Path::Root, format_args!("{error}"));
            None
        }
    }
}

/// Visits every value. Parsers keep one of two equal keys, and not all keep the same one, so two are an error.
struct Whole<'s> {
    path: &'s Path<'s>,
    findings: &'s mut Findings,
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(Key(key)) = object.next_key()? {
            let path = self.path.key(&key);
            if seen.contains(&key) {
                let text = format_args!("{} is in this object twice", Quoted(&key));
                self.findings.error("json/duplicate-key", &path, text);
            }
            object.next_value_seed(Whole { path: &path, findings: self.findings })?;
            seen.insert(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = self.path.index(index);
            if array.next_element_seed(Whole { path: &path, findings: self.findings })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key that borrows from the document unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The six types of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// One value of a document that [`parse`] has read. Reading it again cannot fail.
#[derive(Clone, Copy)]
pub(super) struct Node<'a>(&'a str);

impl<'a> Node<'a> {
    pub(super) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The members of an object, in document order; none of anything else.
    pub(super) fn members(self) -> Vec<(Cow<'a, str>, Self)> {
        self.read::<Members<'a>>(Kind::Object).map_or_else(Vec::new, |Members(members)| members)
    }

    /// The member of an object with this key.
    pub(super) fn member(self, key: &str) -> Option<Self> {
        self.members().into_iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The items of an array; none of anything else.
    pub(super) fn items(self) -> Vec<Self> {
        let raw: Vec<&'a RawValue> = self.read(Kind::Array).unwrap_or_default();
        raw.into_iter().map(|item| Self(item.get())).collect()
    }

    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        self.read(Kind::String).map(|Key(text)| text)
    }

    pub(super) fn number(self) -> Option<f64> {
        self.read(Kind::Number)
    }

    /// A number written without fraction and exponent.
    pub(super) fn integer(self) -> Option<i128> {
        self.0.parse().ok()
    }

    pub(super) fn is_false(self) -> bool {
        self.0 == "false"
    }

    fn read<T: Deserialize<'a>>(self, kind: Kind) -> Option<T> {
        (self.kind() == kind).then(|| {
            serde_json::from_str(self.0).expect("the whole document was read before, its parts are JSON")
        })
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = object.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, Node(value.get())));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
