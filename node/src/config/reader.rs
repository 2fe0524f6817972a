//! Takes settings out of the merged sources, one by one, and remembers what it saw: what is in force and whence it
//! came, what was wrong, and which keys nobody asked for.

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider as _};

use super::problem::{Invalid, Problem};
use super::setting::{Parse, Raw, show};
use super::source::PREFIX;

/// Who set a value; `None` when nobody did and the default holds.
pub type Origin = Option<String>;

/// A setting that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Such as `listen.grpc`.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
    /// Who set it.
    pub origin: Origin,
}

/// A table whose settings are being taken. What is left when it is closed is unknown.
pub(super) struct Table {
    path: String,
    fields: Dict,
    asked: Vec<&'static str>,
}

pub(super) struct Reader {
    figment: Figment,
    root: Dict,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(figment: Figment) -> Result<Self, Invalid> {
        let mut profiles =
            figment.data().map_err(|error| Invalid::source("configuration", error.to_string()))?;
        let root = profiles.remove(&Profile::Default).unwrap_or_default();
        Ok(Self { figment, root, settings: Vec::new(), problems: Vec::new() })
    }

    /// The outermost table. Taken once.
    pub(super) fn root(&mut self) -> Table {
        Table { path: String::new(), fields: std::mem::take(&mut self.root), asked: Vec::new() }
    }

    /// A table within a table; empty when it is absent.
    pub(super) fn table(&mut self, parent: &mut Table, key: &'static str) -> Table {
        let path = parent.path_of(key);
        let fields = match parent.take(key) {
            None => Dict::new(),
            Some(Value::Dict(_, fields)) => fields,
            Some(other) => {
                self.report(&path, Some(&other), "is no table: set the keys within it");
                Dict::new()
            }
        };
        Table { path, fields, asked: Vec::new() }
    }

    /// A list of tables, with at least one; empty only when it is absent.
    pub(super) fn tables(&mut self, parent: &mut Table, key: &'static str) -> Option<Vec<Table>> {
        let path = parent.path_of(key);
        let Some(found) = parent.take(key) else { return Some(Vec::new()) };
        let Value::Array(_, items) = &found else {
            self.report(&path, Some(&found), "is no list of tables");
            return None;
        };
        if items.is_empty() {
            self.report(
                &path,
                Some(&found),
                "is empty: list the first voters, or leave it out and set join.seeds",
            );
            return None;
        }
        let tables = items.iter().enumerate().map(|(index, item)| {
            let path = format!("{path}[{index}]");
            match item {
                Value::Dict(_, fields) => Some(Table { path, fields: fields.clone(), asked: Vec::new() }),
                other => {
                    self.report(&path, Some(other), "is no table");
                    None
                }
            }
        });
        // Every item is looked at before the list is given up.
        let tables: Vec<Option<Table>> = tables.collect();
        tables.into_iter().collect()
    }

    /// A setting that must be there. `None` was reported.
    pub(super) fn required<T: Parse>(&mut self, table: &mut Table, key: &'static str) -> Option<T> {
        let path = table.path_of(key);
        let Some(value) = table.take(key) else {
            let way_out = if path.contains('[') {
                "is missing".to_owned()
            } else {
                format!("is missing: add it to the file, or set {}", variable(&path))
            };
            self.report(&path, None, way_out);
            return None;
        };
        self.parse(path, &value)
    }

    /// A setting with a default. `None` was reported.
    pub(super) fn optional<T: Parse>(
        &mut self,
        table: &mut Table,
        key: &'static str,
        default: T,
    ) -> Option<T> {
        let path = table.path_of(key);
        match table.take(key) {
            Some(value) => self.parse(path, &value),
            None => {
                self.settings.push(Setting { key: path, value: default.show(), origin: None });
                Some(default)
            }
        }
    }

    /// A setting that may be left out, and means something only when it is there. `None` was reported.
    pub(super) fn absent_or<T: Parse>(&mut self, table: &mut Table, key: &'static str) -> Option<Option<T>> {
        let path = table.path_of(key);
        match table.take(key) {
            Some(value) => self.parse(path, &value).map(Some),
            None => Some(None),
        }
    }

    /// Reports what nobody asked for.
    pub(super) fn close(&mut self, table: Table) {
        let Table { path, fields, asked } = table;
        let place = if path.is_empty() { "at the top".to_owned() } else { format!("in {path}") };
        for (key, value) in fields {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            // Without its value: an unknown key can hold anything, a secret too.
            let problem = format!("is an unknown key; known {place}: {}", asked.join(", "));
            let origin = self.origin(&value);
            self.problems.push(Problem { key: Some(path), value: None, origin, problem });
        }
    }

    /// Says that a setting which was read is wrong together with another one.
    pub(super) fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        self.problems.push(Problem {
            key: Some(key.to_owned()),
            value: setting.map(|setting| setting.value.to_string()),
            origin: setting.map(|setting| setting.origin.clone().unwrap_or_else(|| "the default".to_owned())),
            problem: problem.into(),
        });
    }

    /// What was in force, and what was wrong.
    pub(super) fn finish(self) -> (Vec<Setting>, Vec<Problem>) {
        (self.settings, self.problems)
    }

    fn parse<T: Parse>(&mut self, path: String, value: &Value) -> Option<T> {
        let origin = self.origin(value);
        let is_text =
            self.figment.get_metadata(value.tag()).is_some_and(|metadata| metadata.source.is_none());
        match T::parse(Raw { value, is_text }) {
            Ok(parsed) => {
                self.settings.push(Setting { key: path, value: parsed.show(), origin });
                Some(parsed)
            }
            Err(problem) => {
                let value = T::MAY_BE_SHOWN.then(|| show(value));
                self.problems.push(Problem { key: Some(path), value, origin, problem });
                None
            }
        }
    }

    fn report(&mut self, path: &str, value: Option<&Value>, problem: impl Into<String>) {
        self.problems.push(Problem {
            key: Some(path.to_owned()),
            value: value.map(show),
            origin: value.and_then(|value| self.origin(value)),
            problem: problem.into(),
        });
    }

    fn origin(&self, value: &Value) -> Origin {
        self.figment.get_metadata(value.tag()).map(|metadata| metadata.name.to_string())
    }
}

impl Table {
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.fields.remove(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The environment variable of a key.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}
