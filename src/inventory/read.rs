//! Several files → one fleet: every row checked, each VM once.

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::columns::{InvalidColumns, Mapping};
use super::format::Format;
use super::input::{Gauge, Input};
use super::row::{Fault, InvalidRow, Values};
use super::seen::{Seen, Sight};
use super::vm::Vm;
use super::{csv, json};
use crate::ledger::InventoryFile;
use crate::text::escape;

/// How to read an inventory.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// `None`: by file extension, standard input by its beginning.
    pub format: Option<Format>,
    pub mappings: Vec<Mapping>,
    /// A typed `--action` holds for every VM: no row needs its own.
    pub action_given: bool,
}

/// What a row turned out to be.
#[derive(Debug)]
pub enum Event {
    Vm(Vm),
    Invalid(InvalidRow),
}

/// What was read, all files together.
#[derive(Debug, Default)]
pub struct Fleet {
    pub files: Vec<InventoryFile>,
    /// In the order of first appearance.
    pub label_columns: Vec<String>,
    /// Rows that say again, in every column, what an earlier one said.
    pub repeats: u64,
}

/// What makes a whole file unusable.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error("{}: {source}", escape(file))]
    Unreadable { file: String, source: io::Error },
    #[error("{}: its name does not tell the format: give --inventory-format csv, json or jsonl", escape(.0))]
    UnknownFormat(String),
    #[error("{}: {error}", escape(file))]
    Columns { file: String, error: InvalidColumns },
    #[error("{}:{line}: {}", escape(file), escape(reason))]
    Syntax { file: String, line: u64, reason: String },
    #[error("cannot keep track of the VMs: {0}")]
    Seen(#[from] rusqlite::Error),
}

/// [`InventoryError`], before the file is named.
pub(super) enum FileError {
    Columns(InvalidColumns),
    Syntax { line: u64, reason: String },
}

/// The label columns seen so far.
#[derive(Default)]
pub(super) struct Labels {
    order: Vec<String>,
    known: HashSet<String>,
}

impl Labels {
    pub(super) fn note(&mut self, name: &str) {
        if !self.known.contains(name) {
            self.known.insert(name.to_owned());
            self.order.push(name.to_owned());
        }
    }
}

/// Reads `paths` one after another (`-` is standard input), and calls `each` for every row as it comes.
///
/// Stops at the first error of `each`, or at a file that cannot be read on; an invalid row stops nothing.
pub fn read<E: From<InventoryError>>(
    paths: &[PathBuf],
    options: &ReadOptions,
    mut each: impl FnMut(Event) -> Result<(), E>,
) -> Result<Fleet, E> {
    let seen = Seen::new().map_err(InventoryError::from)?;
    let mut fleet = Fleet::default();
    let mut labels = Labels::default();
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    for (number, path) in paths.iter().enumerate() {
        let name = &names[number];
        let repeats = &mut fleet.repeats;
        let row = |line: u64, values: Result<Values, Fault>| -> Result<(), Halt<E>> {
            let vm = values.and_then(|values| values.into_vm(options.action_given));
            let vm = vm.and_then(|vm| match seen.note(&vm, number, line) {
                Ok(Sight::First) => Ok(Some(vm)),
                Ok(Sight::Again) => Ok(None),
                Ok(Sight::Otherwise { file, line }) => Err(contradiction(&vm, &names[file], line)),
                Err(error) => Err(Fault::new("vmid", error)),
            });
            let event = match vm {
                Ok(Some(vm)) => Event::Vm(vm),
                Ok(None) => {
                    *repeats += 1;
                    return Ok(());
                }
                Err(Fault { column, reason }) => {
                    Event::Invalid(InvalidRow { file: name.clone(), line, column, reason })
                }
            };
            each(event).map_err(Halt::Caller)
        };
        let gauge = read_file(path, name, options, &mut labels, row)?;
        fleet.files.push(InventoryFile { path: name.clone(), sha256: gauge.sha256() });
    }
    fleet.label_columns = labels.order;
    Ok(fleet)
}

/// Why the reading of a file stopped.
enum Halt<E> {
    Caller(E),
    File(FileError),
}

impl<E> From<FileError> for Halt<E> {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

fn contradiction(vm: &Vm, file: &str, line: u64) -> Fault {
    Fault::new(
        "vmid",
        format!("{} stands at {}:{line} already, with different contents", vm.id, escape(file)),
    )
}

fn read_file<E: From<InventoryError>>(
    path: &Path,
    name: &str,
    options: &ReadOptions,
    labels: &mut Labels,
    row: impl FnMut(u64, Result<Values, Fault>) -> Result<(), Halt<E>>,
) -> Result<Gauge, E> {
    let unreadable = |source| InventoryError::Unreadable { file: name.to_owned(), source };
    let input = Input::open(path).map_err(unreadable)?;
    let gauge = input.gauge();
    let mut text = input.into_text().map_err(unreadable)?;
    let format = match options.format.or_else(|| Format::of(path)) {
        Some(format) => format,
        None if name == "-" => Format::sniff(text.fill_buf().map_err(unreadable)?),
        None => return Err(InventoryError::UnknownFormat(name.to_owned()).into()),
    };
    let mappings = &options.mappings;
    let read = match format {
        Format::Csv => csv::read(text, &gauge, mappings, labels, row),
        Format::Json => json::read_document(text, &gauge, mappings, labels, row),
        Format::JsonLines => json::read_lines(text, &gauge, mappings, labels, row),
    };
    match read {
        Ok(()) => Ok(gauge),
        Err(Halt::Caller(error)) => Err(error),
        Err(Halt::File(FileError::Columns(error))) => {
            Err(InventoryError::Columns { file: name.to_owned(), error }.into())
        }
        Err(Halt::File(FileError::Syntax { line, reason })) => {
            Err(InventoryError::Syntax { file: name.to_owned(), line, reason }.into())
        }
    }
}
