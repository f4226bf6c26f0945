//! Proxmox's own list, which is refused where its `vmid` would be taken for HostUp's: it is some other VM's there.

use super::columns::{Column, ColumnMap};
use super::error::FileFault;
use super::row::Cells;
use crate::text::spelled_out;

/// The first row that is one of Proxmox's, as far as a message shows it.
#[derive(Debug, Default)]
pub(super) struct Proxmox(Option<String>);

impl Proxmox {
    pub(super) fn note(&mut self, cells: &Cells<'_>, map: &ColumnMap) {
        if self.0.is_none() && map.header_of(Column::Vmid).is_none() {
            self.0 = own(cells);
        }
    }

    /// `paths` are those into the first object: one may lead to HostUp's id.
    pub(super) fn refuse(&self, paths: &[String]) -> Result<(), FileFault> {
        let Some(own) = &self.0 else { return Ok(()) };
        let hostups = paths.iter().find(|path| path.rsplit('.').next() == Some(Column::Vmid.as_str()));
        let field = hostups.map_or_else(|| "FIELD".to_owned(), |path| spelled_out(path));
        Err(FileFault::Columns(format!(
            "this is Proxmox's own list ({own}): a Proxmox vmid is some other VM's id at HostUp. Say which field holds \
             HostUp's, and what the vmid is: --column vmid={field} --column proxmox_vm_id=vmid"
        )))
    }
}

/// Whether the row's id is made of its vmid: `qemu/100` or `lxc/100`.
fn own(cells: &Cells<'_>) -> Option<String> {
    let (key, vmid) = cells.cell(Column::Vmid)?;
    let id = cells.under("id")?;
    let own = id.trim().to_ascii_lowercase();
    let is_own = ["qemu/", "lxc/"].iter().any(|kind| own.strip_prefix(kind) == Some(vmid));
    is_own.then(|| format!("id {}, {} {}", spelled_out(id), spelled_out(key), spelled_out(vmid)))
}
