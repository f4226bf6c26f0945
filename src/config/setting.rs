//! An option in force: what it is set to, and where that was written.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::text::escape_path;

/// Options that may hold a secret (a password in a URL), or say nothing of how a run was carried out.
const UNRECORDED: [&str; 8] =
    ["inventory", "proxy", "ping-url", "notify-url", "verbose", "quiet", "log-format", "forget-rate"];

/// Where an option's value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Variable(String),
    /// What the run that is gone on with recorded of itself.
    Run,
    File {
        path: PathBuf,
        key: String,
    },
    /// Where no option is: the key's place.
    Elsewhere(String),
    Nowhere,
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::Run => f.write_str("the run's own options"),
            Self::File { path, key } => write!(f, "{}: {key}", escape_path(path)),
            Self::Elsewhere(place) => f.write_str(place),
            Self::Nowhere => f.write_str("nowhere"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// An option that has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// `rate` of `--rate`.
    pub(crate) name: String,
    /// As they were written, but for what may be a secret.
    pub(crate) values: Vec<String>,
    pub(crate) source: Source,
    /// It is on or off, and has no other value.
    pub(super) is_switch: bool,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  ({})", self.name, self.values.join(", "), self.source)
    }
}

impl Setting {
    /// One that nobody wrote.
    pub(super) fn by_default(name: &str, value: String) -> Self {
        Self { name: name.into(), values: vec![value], source: Source::Default, is_switch: false }
    }

    /// Whether nobody wrote it.
    pub(crate) fn is_default(&self) -> bool {
        self.source == Source::Default
    }

    /// Whether a run keeps it. A switch that is off without anybody's doing says nothing.
    fn is_recorded(&self) -> bool {
        let is_set = matches!(self.source, Source::Flag | Source::Variable(_));
        !UNRECORDED.contains(&self.name.as_str()) && (is_set || !self.is_switch || self.values != ["false"])
    }

    fn recorded(&self) -> Value {
        match self.values.as_slice() {
            [value] => value.as_str().into(),
            values => values.into(),
        }
    }
}

/// The options in force, by name, as a run records them.
pub(super) fn recorded(settings: &[Setting]) -> Map<String, Value> {
    let kept = settings.iter().filter(|setting| setting.is_recorded());
    kept.map(|setting| (setting.name.clone(), setting.recorded())).collect()
}

/// An option's values as [`recorded`] wrote them.
pub(super) fn values(recorded: &Value) -> Vec<String> {
    match recorded {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        value => value.as_str().map(str::to_owned).into_iter().collect(),
    }
}
