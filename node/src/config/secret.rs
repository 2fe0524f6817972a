//! A credential that does not show itself.

use std::fmt;

use meridian_model::credential::admit_secret;

use super::setting::{Parse, Raw};

/// A token. Neither `Debug` nor an explanation of the configuration shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A token that is long enough and has visible ASCII characters only.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match admit_secret(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("is no token: {error}")),
        }
    }

    /// The secret itself. Whoever calls this decides where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Parse for Secret {
    const MAY_BE_SHOWN: bool = false;

    fn parse(raw: Raw<'_>) -> Result<Self, String> {
        Self::parse(raw.text()?)
    }

    fn show(&self) -> serde_json::Value {
        "(hidden)".into()
    }
}
