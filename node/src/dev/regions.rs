//! The regions of a development cluster.

use std::fmt;
use std::str::FromStr;

use meridian_model::ids::{Name, NameError};

/// One node per region, so an odd number of them: an even one tolerates no more losses than the odd one below it.
///
/// Written as names between commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions(Vec<Name>);

/// Nine nodes on one machine show all that more would.
const MOST: usize = 9;

/// Why a text is not [`Regions`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A region has no proper name.
    #[error("a region is badly named: {0}")]
    Name(#[from] NameError),
    /// A name was given twice.
    #[error("region {0} is named twice: give each its own name")]
    Twice(Name),
    /// An even number, or too many.
    #[error(
        "{0} regions were given: give an odd number of them, at most {MOST}, so that a majority can agree"
    )]
    Count(usize),
}

impl Regions {
    /// The names, in the order given.
    pub fn names(&self) -> &[Name] {
        &self.0
    }
}

impl Default for Regions {
    fn default() -> Self {
        "us-east,eu-west,ap-south".parse().expect("three different names, each of them valid")
    }
}

impl FromStr for Regions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let names = text.split(',').map(|name| name.trim().parse()).collect::<Result<Vec<Name>, _>>()?;
        if names.len() % 2 == 0 || names.len() > MOST {
            return Err(Error::Count(names.len()));
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(Error::Twice(name.clone()));
            }
        }
        Ok(Self(names))
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(Name::as_str).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_odd_number_of_different_names_is_taken() {
        for good in ["solo", "a,b,c", "us-east,eu-west,ap-south", "a,b,c,d,e,f,g,h,i"] {
            assert_eq!(good.parse::<Regions>().unwrap().to_string(), good);
        }
        assert_eq!("a, b ,c".parse::<Regions>().unwrap().to_string(), "a,b,c");
        assert_eq!(Regions::default().names().len(), 3);
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let check = |text: &str, reason: &str| {
            let error = text.parse::<Regions>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        };
        check("", "badly named");
        check("a,,c", "badly named");
        check("us/east", "badly named");
        check("../up", "badly named");
        check("a,b", "2 regions");
        check("a,b,c,d,e,f,g,h,i,j,k", "11 regions");
        check("a,b,a", "region a is named twice");
    }
}
