//! The types a setting can have: how each is parsed, and how it is shown.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::value::Value;
use meridian_model::{KeyHash, Name};
use meridian_replication::Profile;
use tracing_subscriber::EnvFilter;

use super::address::Address;
use super::{LogFormat, Role};

/// A value as a source gave it.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) value: &'a Value,
    /// The source knows only text: an environment variable or a flag.
    pub(super) is_text: bool,
}

impl<'a> Raw<'a> {
    pub(super) fn text(self) -> Result<&'a str, String> {
        self.value.as_str().ok_or_else(|| format!("is {}, not a text", kind(self.value)))
    }
}

/// A type of setting.
pub(super) trait Parse: Sized {
    /// False when a wrong value could be a secret in the wrong place.
    const MAY_BE_SHOWN: bool = true;

    /// What is wrong, and the way out, follows the key in a sentence.
    fn parse(raw: Raw<'_>) -> Result<Self, String>;

    fn show(&self) -> serde_json::Value;
}

impl Parse for Name {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        raw.text()?.parse().map_err(|error: meridian_model::ids::NameError| error.to_string())
    }

    fn show(&self) -> serde_json::Value {
        self.as_str().into()
    }
}

impl Parse for u64 {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let number = match raw.value {
            Value::String(_, text) if raw.is_text => text.parse().ok(),
            Value::Num(_, number) => {
                let signed = number.to_i128().and_then(|number| number.try_into().ok());
                signed.or_else(|| number.to_u128()?.try_into().ok())
            }
            _ => None,
        };
        number.ok_or_else(|| "is not a whole number of 0 or more".to_owned())
    }

    fn show(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl Parse for bool {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let truth = match raw.value {
            Value::String(_, text) if raw.is_text => text.parse().ok(),
            other => other.to_bool(),
        };
        truth.ok_or_else(|| "is neither true nor false".to_owned())
    }

    fn show(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl Parse for String {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        raw.text().map(str::to_owned)
    }

    fn show(&self) -> serde_json::Value {
        self.as_str().into()
    }
}

impl Parse for PathBuf {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        raw.text().map(Self::from)
    }

    fn show(&self) -> serde_json::Value {
        self.display().to_string().into()
    }
}

impl Parse for SocketAddr {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        raw.text()?.parse().map_err(|_| {
            "is not ip:port: a listener takes an IP address, a colon and a port, such as 127.0.0.1:7400"
                .to_owned()
        })
    }

    fn show(&self) -> serde_json::Value {
        self.to_string().into()
    }
}

impl Parse for Address {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let address: Self =
            raw.text()?.parse().map_err(|error: super::address::NotAnAddress| error.to_string())?;
        if address.is_unspecified() {
            return Err("cannot be dialled by others: write the address they reach this node at".to_owned());
        }
        Ok(address)
    }

    fn show(&self) -> serde_json::Value {
        self.to_string().into()
    }
}

/// A list in a file; in the environment, separated by commas.
impl Parse for Vec<Address> {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let texts: Vec<&str> = match raw.value {
            Value::Array(_, items) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
            Value::String(_, text) if raw.is_text => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
            }
            _ => return Err("is not a list of host:port".to_owned()),
        };
        let parsed = texts.into_iter().map(|text| {
            let address = text.parse::<Address>().ok().filter(|address| !address.is_unspecified());
            address.ok_or_else(|| {
                format!(
                    "holds {text:?}: write host:port of the peer listener of members that others can dial"
                )
            })
        });
        parsed.collect()
    }

    fn show(&self) -> serde_json::Value {
        self.iter().map(Address::to_string).collect()
    }
}

impl Parse for Role {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "voter" => Ok(Self::Voter),
            "learner" => Ok(Self::Learner),
            _ => Err("is no role: write voter or learner".to_owned()),
        }
    }

    fn show(&self) -> serde_json::Value {
        match self {
            Self::Voter => "voter".into(),
            Self::Learner => "learner".into(),
        }
    }
}

impl Parse for LogFormat {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is no log format: write text or json".to_owned()),
        }
    }

    fn show(&self) -> serde_json::Value {
        match self {
            Self::Text => "text".into(),
            Self::Json => "json".into(),
        }
    }
}

impl Parse for Profile {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?;
        let known = Self::ALL.into_iter().find(|profile| profile.name() == text);
        known.ok_or_else(|| {
            "is no profile: write lan, default or wan, by how far apart the voters are".to_owned()
        })
    }

    fn show(&self) -> serde_json::Value {
        self.name().into()
    }
}

/// A tracing filter that is known to parse.
pub(super) struct Filter(pub(super) String);

impl Parse for Filter {
    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?;
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => {
                Err(format!("is no log filter ({error}): write a level such as info, or info,meridian=debug"))
            }
        }
    }

    fn show(&self) -> serde_json::Value {
        self.0.as_str().into()
    }
}

/// SHA-256 of an operator token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenHash(pub(super) [u8; 32]);

impl TokenHash {
    fn from_hex(text: &str) -> Result<Self, String> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text.trim(), &mut hash).map_err(|_| {
            "holds something that is no SHA-256: write the 64 hex digits that `meridian token` prints, never the token \
             itself (the value is not shown, it may be a secret)"
                .to_owned()
        })?;
        if hash == KeyHash::of("").0 {
            return Err("holds the hash of an empty token: anybody would be an operator".to_owned());
        }
        Ok(Self(hash))
    }
}

/// A list in a file; in the environment, separated by commas.
impl Parse for Vec<TokenHash> {
    const MAY_BE_SHOWN: bool = false;

    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        let mut hashes = Self::new();
        match raw.value {
            Value::Array(_, items) => {
                for item in items {
                    hashes.push(TokenHash::from_hex(item.as_str().unwrap_or_default())?);
                }
            }
            Value::String(_, text) if raw.is_text => {
                for item in text.split(',').filter(|item| !item.trim().is_empty()) {
                    hashes.push(TokenHash::from_hex(item)?);
                }
            }
            _ => return Err("is not a list of SHA-256 hashes".to_owned()),
        }
        Ok(hashes)
    }

    fn show(&self) -> serde_json::Value {
        self.iter().map(|hash| hex::encode(hash.0)).collect()
    }
}

/// A value for an error, no longer than a line.
pub(super) fn show(value: &Value) -> String {
    const SHOWN_CHARACTERS: usize = 80;
    let text = match value {
        Value::String(_, text) => format!("{text:?}"),
        other => serde_json::to_string(other).unwrap_or_else(|_| kind(other).to_owned()),
    };
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "a truth value",
        Value::Num(..) => "a number",
        Value::Empty(..) => "empty",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}
