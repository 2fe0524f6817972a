//! A format's required and optional members and their types, as tables, and the one function that reads them.
//!
//! What a table cannot say (references between parts, one type among variants) is code in the format's file.

use std::fmt;

use super::Findings;
use super::json::{Kind, Node};
use super::path::{Path, Quoted};

/// What a value must look like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// One of these types.
    Of(&'static [Kind]),
    /// A number from the first to the second, both included.
    Number(f64, f64),
    /// A number without fraction and exponent, in the same way.
    Integer(i128, i128),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A string; one that is not among these is a warning, since newer SDKs may know more.
    Known(&'static [&'static str]),
    /// An array of such items.
    List(&'static Shape),
    /// An object with any keys and such values.
    Map(&'static Shape),
    /// An object with these members, and any others.
    Record(&'static [Field]),
    /// An object whose member of this name says which other members it has.
    Tagged(&'static str, &'static [Form]),
}

/// One value of a tag, and the members that come with it.
#[derive(Clone, Copy)]
pub(super) struct Form(pub(super) &'static str, pub(super) &'static [Field]);

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub(super) const ANY: Shape =
    Shape::Of(&[Kind::Null, Kind::Bool, Kind::Number, Kind::String, Kind::Array, Kind::Object]);
pub(super) const BOOL: Shape = Shape::Of(&[Kind::Bool]);
pub(super) const NUMBER: Shape = Shape::Of(&[Kind::Number]);
pub(super) const STRING: Shape = Shape::Of(&[Kind::String]);
pub(super) const OBJECT: Shape = Shape::Of(&[Kind::Object]);
pub(super) const SCALAR: Shape = Shape::Of(&[Kind::Bool, Kind::Number, Kind::String]);
pub(super) const STRINGS: Shape = Shape::List(&STRING);
pub(super) const U32: Shape = Shape::Integer(0, u32::MAX as i128);
pub(super) const U64: Shape = Shape::Integer(0, u64::MAX as i128);
pub(super) const I64: Shape = Shape::Integer(i64::MIN as i128, i64::MAX as i128);

/// A member of a record. An optional one may be null, which is the same as absent.
#[derive(Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    required: bool,
    shape: Shape,
}

pub(super) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, required: true, shape }
}

pub(super) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, required: false, shape }
}

/// The names under which one format's findings are known.
pub(super) struct Rules {
    pub(super) missing_key: &'static str,
    pub(super) wrong_type: &'static str,
    pub(super) out_of_range: &'static str,
    pub(super) unknown_value: &'static str,
}

impl Rules {
    /// Checks `node`, and all that `shape` says of what is in it.
    pub(super) fn check(&self, shape: &Shape, node: Node<'_>, path: &Path<'_>, findings: &mut Findings) {
        let kinds = shape.kinds();
        if !kinds.contains(&node.kind()) {
            let text = format_args!("must be {}, is {}", Choice(kinds), node.kind());
            return findings.error(self.wrong_type, path, text);
        }
        match *shape {
            Shape::Of(_) => {}
            Shape::Number(min, max) => {
                if node.number().is_none_or(|number| !(min..=max).contains(&number)) {
                    findings.error(self.out_of_range, path, format_args!("must be from {min} to {max}"));
                }
            }
            Shape::Integer(min, max) => {
                if node.integer().is_none_or(|number| !(min..=max).contains(&number)) {
                    let text = format_args!("must be a whole number from {min} to {max}");
                    findings.error(self.out_of_range, path, text);
                }
            }
            Shape::OneOf(names) => {
                if let Some(text) = node.string().filter(|text| !names.contains(&&**text)) {
                    let text = format_args!("must be {}, is {}", Choice(names), Quoted(&text));
                    findings.error(self.unknown_value, path, text);
                }
            }
            Shape::Known(names) => {
                if let Some(text) = node.string().filter(|text| !names.contains(&&**text)) {
                    let text = format_args!(
                        "{} is unknown here: an SDK that does not know it either gives up on every spec that uses it",
                        Quoted(&text)
                    );
                    findings.warning(self.unknown_value, path, text);
                }
            }
            Shape::List(shape) => {
                for (index, item) in node.items().into_iter().enumerate() {
                    self.check(shape, item, &path.index(index), findings);
                }
            }
            Shape::Map(shape) => {
                for (key, value) in node.members() {
                    self.check(shape, value, &path.key(&key), findings);
                }
            }
            Shape::Record(fields) => self.check_fields(fields, node, path, findings),
            Shape::Tagged(tag, forms) => {
                let found = node.member(tag).and_then(Node::string);
                match forms.iter().find(|form| found.as_deref() == Some(form.0)) {
                    Some(Form(_, fields)) => self.check_fields(fields, node, path, findings),
                    None => {
                        let text = format_args!("must be {}", Choice(forms));
                        findings.error(self.unknown_value, &path.key(tag), text);
                    }
                }
            }
        }
    }

    fn check_fields(&self, fields: &[Field], node: Node<'_>, path: &Path<'_>, findings: &mut Findings) {
        let members = node.members();
        for field in fields {
            let path = path.key(field.name);
            match members.iter().find(|(key, _)| key == field.name) {
                Some((_, value)) if !field.required && value.kind() == Kind::Null => {}
                Some((_, value)) => self.check(&field.shape, *value, &path, findings),
                None if field.required => {
                    findings.error(self.missing_key, &path, format_args!("required, but missing"));
                }
                None => {}
            }
        }
    }
}

impl Shape {
    /// The types that fit.
    fn kinds(&self) -> &'static [Kind] {
        match self {
            Self::Of(kinds) => kinds,
            Self::Number(..) | Self::Integer(..) => &[Kind::Number],
            Self::OneOf(_) | Self::Known(_) => &[Kind::String],
            Self::List(_) => &[Kind::Array],
            Self::Map(_) | Self::Record(_) | Self::Tagged(..) => &[Kind::Object],
        }
    }
}

/// Alternatives in words: `a`, `a or b`, `a, b or c`.
struct Choice<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Choice<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, alternative) in self.0.iter().enumerate() {
            f.write_str(match index {
                0 => "",
                _ if index + 1 == self.0.len() => " or ",
                _ => ", ",
            })?;
            write!(f, "{alternative}")?;
        }
        Ok(())
    }
}
