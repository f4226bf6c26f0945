//! `v6fleet config`: the settings in force, for people and programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::exit;
use super::failure::Broken;
use super::stdout::print_as;
use crate::config::{Form, Setting, Showing};
use crate::text::escape;

/// Returns the exit code.
pub(super) fn show(showing: &Showing) -> Result<u8, Broken> {
    let text = match showing.form {
        Form::Text => text(&showing.settings),
        Form::Json => format!("{}\n", json(&showing.settings)),
    };
    print_as(showing.form, &text)?;
    Ok(exit::COMPLETE)
}

/// A setting a line: name, value, source.
fn text(settings: &[Setting]) -> String {
    let cells = |setting: &Setting| {
        [setting.name.clone(), setting.values.join(", "), setting.source.to_string()]
            .map(|cell| escape(&cell).into_owned())
    };
    let lines: Vec<[String; 3]> = settings.iter().map(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let (names, values) = (width(0), width(1).min(VALUE));
    lines.iter().fold(String::new(), |mut text, [name, value, source]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:names$}  {value:values$}  {source}");
        text
    })
}

/// The widest value that the others are aligned with.
const VALUE: usize = 24;

fn json(settings: &[Setting]) -> Value {
    json!({"schema": "v6fleet.config/1", "settings": settings.iter().map(json_of).collect::<Vec<_>>()})
}

pub(super) fn json_of(setting: &Setting) -> Value {
    json!({"name": setting.name, "values": setting.values, "source": setting.source.to_string()})
}
