//! What is typed of an inventory: how it is read, and which of its VMs are meant.

use clap::Args;

use crate::inventory::{Delimiter, Encoding, Format, Mapping, Path, RackPattern, VmidPattern, WherePattern};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Inventory")]
pub struct InventoryArgs {
    /// Format of the inventory: csv, json or jsonl [default: by file extension]
    #[arg(long, value_name = "FORMAT")]
    pub inventory_format: Option<Format>,

    /// What stands between the columns of CSV: auto, or one of , ; | tab [default: auto, by the header]
    #[arg(long, value_name = "DELIMITER")]
    pub delimiter: Option<Delimiter>,

    /// Encoding of files without a byte order mark, such as windows-1252 [default: UTF-8]
    #[arg(long, value_name = "LABEL")]
    pub encoding: Option<Encoding>,

    /// Where in a JSON document the VMs are, such as data.virtual_machines [default: vms, results or data]
    #[arg(long, value_name = "PATH")]
    pub items: Option<Path>,

    /// Read a field from another column or path, such as vmid=custom_fields.hostup_vmid (repeatable)
    #[arg(long, value_name = "FIELD=HEADER")]
    pub column: Vec<Mapping>,

    /// Go on without invalid rows; they are listed in skipped.csv beside the report
    #[arg(long)]
    pub skip_invalid: bool,
}

pub(super) const SELECTION: &str =
    "Selection (repeatable; a leading ! excludes; different options and labels all must match)";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = SELECTION)]
pub struct SelectionArgs {
    /// VMs of these racks: the inventory's rack, or the one last seen where it has none
    #[arg(long, value_name = "GLOB")]
    pub rack: Vec<RackPattern>,

    /// VMs by id: 10000,10010-10020 or @FILE
    #[arg(long, value_name = "IDS")]
    pub vmid: Vec<VmidPattern>,

    /// VMs by a label or another column; LABEL=* is those that have one
    #[arg(long = "where", value_name = "LABEL=GLOB")]
    pub r#where: Vec<WherePattern>,

    /// The first N of the selected VMs only
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}
