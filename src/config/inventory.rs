//! Which VMs are meant: the inventory, how it is read, and what is selected of it.

use std::path::PathBuf;

use super::error::ConfigError;
use crate::cli::{InventoryArgs, SelectionArgs};
use crate::dialect::Dialect;
use crate::inventory::{
    ColumnMap, RackPattern, ReadOptions, Selection, SelectionError, VmidPattern, WherePattern,
};

#[derive(Debug, Clone)]
pub(crate) struct InventorySettings {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) reading: ReadOptions,
    /// Go on without invalid rows.
    pub(crate) skip_invalid: bool,
    pub(crate) selection: SelectionSettings,
}

impl InventorySettings {
    /// `action_given`: rows need no action of their own.
    pub(super) fn of(
        files: &[PathBuf],
        dialect: Dialect,
        typed: &InventoryArgs,
        selection: &SelectionArgs,
        action_given: bool,
    ) -> Result<Self, ConfigError> {
        let reading = ReadOptions {
            dialect,
            format: typed.inventory_format,
            delimiter: typed.delimiter.unwrap_or_default(),
            encoding: typed.encoding,
            items: typed.items.clone(),
            columns: ColumnMap::new(typed.column.iter().cloned())?,
            action_given,
        };
        let (files, skip_invalid) = (files.to_vec(), typed.skip_invalid);
        Ok(Self { files, reading, skip_invalid, selection: SelectionSettings::of(selection, Some(dialect)) })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SelectionSettings {
    racks: Vec<RackPattern>,
    vmids: Vec<VmidPattern>,
    wheres: Vec<WherePattern>,
    /// Whose ids may be named; `None`: either's.
    dialect: Option<Dialect>,
    /// The first so many of the selected VMs only.
    pub(crate) limit: Option<u64>,
}

impl SelectionSettings {
    pub(super) fn of(typed: &SelectionArgs, dialect: Option<Dialect>) -> Self {
        Self {
            racks: typed.rack.clone(),
            vmids: typed.vmid.clone(),
            wheres: typed.r#where.clone(),
            dialect,
            limit: typed.limit,
        }
    }

    /// The files of `--vmid @FILE`.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.vmids.iter().filter_map(|pattern| Some(pattern.file()?.to_owned()))
    }

    /// Reads those files.
    pub(crate) fn read(&self) -> Result<Selection, SelectionError> {
        Selection::new(self.racks.clone(), self.vmids.clone(), self.wheres.clone(), self.dialect)
    }
}
