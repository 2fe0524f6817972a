//! flagd flag sets.
//!
//! Providers disagree about bad documents: one rejects the set for what another skips, and `{}` wipes the flags
//! of all of them. What any of them rejects or skips is an error here.

use super::Findings;
use super::json::{Kind, Node};
use super::path::{Path, Quoted};
use super::shape::{ANY, Field, OBJECT, Rules, SCALAR, STRING, Shape, optional, required};

const RULES: Rules = Rules {
    missing_key: "flagd/missing-key",
    wrong_type: "flagd/wrong-type",
    out_of_range: "flagd/out-of-range",
    unknown_value: "flagd/unknown-value",
};

static FLAG_SET: [Field; 3] = [
    required("flags", Shape::Map(&Shape::Record(&FLAG))),
    optional("$evaluators", OBJECT),
    optional("metadata", Shape::Map(&SCALAR)),
];

static FLAG: [Field; 5] = [
    required("state", Shape::OneOf(&["ENABLED", "DISABLED"])),
    required("variants", Shape::Map(&ANY)),
    optional("defaultVariant", STRING),
    optional("targeting", OBJECT),
    optional("metadata", Shape::Map(&SCALAR)),
];

pub(super) fn check(root: Node<'_>, findings: &mut Findings) {
    RULES.check(&Shape::Record(&FLAG_SET), root, &Path::Root, findings);

    let Some(flags) = root.member("flags").filter(|flags| flags.kind() == Kind::Object) else { return };
    let path = &Path::Root.key("flags");
    let flags = flags.members();
    if flags.is_empty() {
        findings.warning(
            "flagd/no-flags",
            path,
            format_args!("no flags: every client falls back to its own defaults"),
        );
    }
    for (name, flag) in flags {
        check_variants(flag, &path.key(&name), findings);
    }
}

fn check_variants(flag: Node<'_>, path: &Path<'_>, findings: &mut Findings) {
    let Some(variants) = flag.member("variants").filter(|variants| variants.kind() == Kind::Object) else {
        return;
    };
    let variants = variants.members();
    let Some((_, first)) = variants.first() else {
        let text = format_args!("a flag has at least one variant");
        return findings.error("flagd/no-variants", &path.key("variants"), text);
    };
    if let Some((name, other)) = variants.iter().find(|(_, value)| value.kind() != first.kind()) {
        let text = format_args!(
            "all variants of a flag have one type: the first is {}, this {}",
            first.kind(),
            other.kind()
        );
        findings.error("flagd/mixed-variants", &path.key("variants").key(name), text);
    }
    let chosen = flag.member("defaultVariant").and_then(Node::string);
    if let Some(chosen) = chosen.filter(|chosen| variants.iter().all(|(name, _)| name != chosen)) {
        let text = format_args!("{} is not among the variants", Quoted(&chosen));
        findings.error("flagd/unknown-variant", &path.key("defaultVariant"), text);
    }
}
