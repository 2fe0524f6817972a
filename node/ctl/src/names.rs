//! Names as they stand on the command line. Only their shape is checked here: which names are good, the cluster says.

use std::fmt;
use std::str::FromStr;

/// The name of a project, or the id of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// One environment, written `PROJECT/ENV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentName {
    /// The project.
    pub project: Name,
    /// The environment in it.
    pub environment: Name,
}

/// Why a text is not a name. Quotes at most the beginning of what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is missing: {0:?}")]
    Empty(String),
    /// Longer than any name.
    #[error("{shown:?}… is too long for a name: {length} bytes, and at most {NAME_BYTES} may be")]
    TooLong {
        /// The beginning.
        shown: String,
        /// Of all of it, in bytes.
        length: usize,
    },
    /// Holds what no name holds.
    #[error("{0:?} is not a name: spaces, slashes and control characters cannot be in one")]
    Characters(String),
    /// No project and environment.
    #[error("{0:?} is not an environment: write PROJECT/ENV, for example shop/production")]
    NoEnvironment(String),
}

/// Longer than the cluster allows: this keeps megabytes off the wire, not bad names.
const NAME_BYTES: usize = 256;

/// Input that is quoted in an error must not become its size.
const QUOTED_CHARACTERS: usize = 60;

fn beginning(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS).collect()
}

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            Err(NameError::Empty(String::new()))
        } else if text.len() > NAME_BYTES {
            Err(NameError::TooLong { shown: beginning(text), length: text.len() })
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
            Err(NameError::Characters(beginning(text)))
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl FromStr for EnvironmentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (project, environment) =
            text.split_once('/').ok_or_else(|| NameError::NoEnvironment(beginning(text)))?;
        if project.is_empty() || environment.is_empty() {
            return Err(NameError::Empty(beginning(text)));
        }
        Ok(Self { project: project.parse()?, environment: environment.parse()? })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.environment)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_environment_is_a_project_and_a_name() {
        let name: EnvironmentName = "shop/production".parse().unwrap();
        assert_eq!((name.project.as_str(), name.environment.as_str()), ("shop", "production"));
        assert_eq!(name.to_string(), "shop/production");
    }

    #[test]
    fn bad_names_are_told_apart() {
        for (text, told) in [
            ("shop", "write PROJECT/ENV"),
            ("", "write PROJECT/ENV"),
            ("shop/", "a name is missing"),
            ("/live", "a name is missing"),
            ("shop/li ve", "spaces, slashes"),
            ("shop/live/eu", "spaces, slashes"),
            ("shop\0/live", "spaces, slashes"),
            ("shop/\u{1b}[31m", "spaces, slashes"),
        ] {
            let error = text.parse::<EnvironmentName>().unwrap_err().to_string();
            assert!(error.contains(told), "{text:?}: {error}");
            assert!(!error.contains(char::is_control), "{text:?} is quoted raw");
        }
    }

    #[test]
    fn a_huge_name_is_refused_with_a_short_text() {
        let huge = "x".repeat(10 << 20);
        for text in [huge.clone(), format!("{huge}/live"), format!("shop/{huge}")] {
            let error = text.parse::<EnvironmentName>().unwrap_err().to_string();
            assert!(error.len() < 200, "{} bytes", error.len());
        }
    }
}
