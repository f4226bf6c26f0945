//! What is there already of a place that is to be made.

use std::path::Path;

/// The nearest that is there of a path and what it lies in. A link that leads nowhere, to a disk that is not mounted, say,
/// is there: nothing can be made in its place.
pub fn nearest(path: &Path) -> &Path {
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    path.ancestors().find(is_there).unwrap_or(Path::new("."))
}
