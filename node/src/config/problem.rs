//! What is wrong with a configuration, in words for whoever wrote it.

use std::fmt;

/// One thing to repair.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Which setting, such as `founders[1].zone`; `None` when it is about the file as a whole.
    pub key: Option<String>,
    /// What it was set to, shortened; `None` when it is missing or could be a secret.
    pub value: Option<String>,
    /// Who set it: a file, a variable, a flag.
    pub origin: Option<String>,
    /// What is wrong, and the way out.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.origin) {
            (Some(key), origin) => {
                f.write_str(key)?;
                if let Some(value) = &self.value {
                    write!(f, " = {value}")?;
                }
                if let Some(origin) = origin {
                    write!(f, " (from {origin})")?;
                }
            }
            (None, Some(origin)) => f.write_str(origin)?,
            (None, None) => f.write_str("configuration")?,
        }
        write!(f, ": {}", self.problem)
    }
}

/// A configuration that the daemon refuses to run with. One line per problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Invalid {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// A source that cannot be used at all.
    pub(super) fn source(origin: impl fmt::Display, problem: impl Into<String>) -> Self {
        let origin = Some(origin.to_string());
        Self { problems: vec![Problem { key: None, value: None, origin, problem: problem.into() }] }
    }
}
