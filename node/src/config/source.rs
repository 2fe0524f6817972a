//! Where settings come from, merged so that each value remembers its source.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, util};

use super::problem::Invalid;

/// What a configuration is read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// TOML or JSON.
    pub file: PathBuf,
    /// Environment variables, of which only `MERIDIAN_*` are looked at.
    pub environment: Vec<(String, String)>,
    /// Key and value of each `--set`.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// A file and flags, with the environment of this process. Variables that are not Unicode are none of ours.
    pub fn of_process(file: PathBuf, flags: Vec<(String, String)>) -> Self {
        let unicode = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self { file, environment: std::env::vars_os().filter_map(unicode).collect(), flags }
    }
}

/// Variables start with it.
pub(super) const PREFIX: &str = "MERIDIAN_";

/// Variables of the operator commands and of the command line itself.
const NOT_CONFIGURATION: [&str; 5] = ["CONFIG", "DEADLINE", "ENDPOINTS", "OUTPUT", "TOKEN"];

/// Largest file: far above any real one, and a device or a log given by mistake does not fill the memory.
const FILE_BYTES: u64 = 1 << 20;

/// Reads the file, and lays the environment and then the flags over it.
pub(super) fn merge(sources: Sources) -> Result<Figment, Invalid> {
    let mut figment = Figment::from(read_file(&sources.file)?);
    for (variable, value) in sources.environment {
        let Some(name) = variable.strip_prefix(PREFIX).filter(|name| is_configuration(name)) else {
            continue;
        };
        let key = name.to_ascii_lowercase().replace("__", ".");
        figment = figment.merge(Layer::text(variable.clone(), &key, &value)?);
    }
    for (key, value) in sources.flags {
        figment = figment.merge(Layer::text(format!("--set {key}"), &key, &value)?);
    }
    Ok(figment)
}

/// Kubernetes sets variables such as `MERIDIAN_SERVICE_HOST` and `MERIDIAN_PEER_PORT_7401_TCP` beside a service of
/// our name. No key of ours has such a word.
fn is_configuration(name: &str) -> bool {
    !name.is_empty()
        && !NOT_CONFIGURATION.contains(&name)
        && !name.split('_').any(|word| matches!(word, "SERVICE" | "PORT"))
}

fn read_file(path: &Path) -> Result<Layer, Invalid> {
    let shown = path.display();
    let unreadable = |error| Invalid::source(&shown, format!("cannot be read: {error}"));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(Invalid::source(&shown, format!("is over {FILE_BYTES} bytes: is it the configuration?")));
    }
    let parsed = if is_json(path, &text) { parse_json(&text) } else { parse_toml(&text) };
    let settings = parsed.map_err(|problem| Invalid::source(&shown, problem))?;
    Ok(Layer { metadata: Metadata::from(shown.to_string(), path), settings })
}

fn is_json(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => true,
        Some("toml") => false,
        _ => text.trim_start().starts_with('{'),
    }
}

fn parse_json(text: &str) -> Result<Dict, String> {
    serde_json::from_str(text).map_err(|error| format!("is not a JSON object: {error}"))
}

fn parse_toml(text: &str) -> Result<Dict, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        format!("is not TOML: line {line}: {}", error.message().replace('\n', ", "))
    })
}

/// What one source says.
struct Layer {
    metadata: Metadata,
    settings: Dict,
}

impl Layer {
    /// One setting, given as text. It has no [`figment::Source`], which tells it from a typed value of a file.
    fn text(origin: String, key: &str, text: &str) -> Result<Self, Invalid> {
        if key.split('.').any(str::is_empty) {
            return Err(Invalid::source(&origin, "names no setting: write a key such as listen.grpc"));
        }
        // Founders are a list of tables: `[{node_id=1,region="us-east",…}]`.
        let value = if key == "founders" {
            text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
        } else {
            Value::from(text)
        };
        let settings = util::nest(key, value).into_dict().unwrap_or_default();
        Ok(Self { metadata: Metadata::named(origin), settings })
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}
