//! The regions of a development cluster.

use std::fmt;
use std::str::FromStr;

use meridian_model::ids::{Name, NameError};

/// One node per region. The first ones vote, an odd number of them, five at most: an even number tolerates no more losses
/// than the odd one below it, and more than five make each publish wait for more without need. The rest are learners.
///
/// Written as names between commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions(Vec<Name>);

/// Nine nodes on one machine show all that more would.
const MOST: usize = 9;

/// Two may be lost.
const VOTERS: usize = 5;

/// Why a text is not [`Regions`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A region has no proper name.
    #[error("a region is badly named: {0}")]
    Name(#[from] NameError),
    /// A name was given twice.
    #[error("region {0} is named twice: give each its own name")]
    Twice(Name),
    /// Too many.
    #[error("{0} regions were given: at most {MOST} nodes run on one machine")]
    Count(usize),
}

impl Regions {
    /// The names, in the order given.
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// How many of them vote, from the first on.
    pub fn voters(&self) -> usize {
        let most = self.0.len().min(VOTERS);
        most - usize::from(most.is_multiple_of(2))
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
        if names.len() > MOST {
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
    fn different_names_are_taken_and_the_first_ones_vote() {
        for (good, voters) in [
            ("solo", 1),
            ("a,b", 1),
            ("a,b,c", 3),
            ("a,b,c,d", 3),
            ("a,b,c,d,e", 5),
            ("a,b,c,d,e,f", 5),
            ("a,b,c,d,e,f,g,h,i", 5),
        ] {
            let regions: Regions = good.parse().unwrap();
            assert_eq!((regions.to_string().as_str(), regions.voters()), (good, voters));
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
        check("a,b,c,d,e,f,g,h,i,j", "10 regions");
        check("a,b,a", "region a is named twice");
    }
}
