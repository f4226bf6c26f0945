//! Where files of ours are usually kept: the XDG base directories, and what the environment names.

use std::env;
use std::path::{Path, PathBuf};

/// An XDG base directory: the variable, if it is an absolute path, else its place in the home directory.
pub(super) fn home(variable: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    named_by(variable).and_then(absolute).or_else(|| below("HOME", fallback).and_then(absolute))
}

/// The path in a variable, if it is not empty.
pub(super) fn named_by(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A place below the directory in a variable.
pub(super) fn below(variable: &str, place: impl AsRef<Path>) -> Option<PathBuf> {
    named_by(variable).map(|dir| dir.join(place))
}
