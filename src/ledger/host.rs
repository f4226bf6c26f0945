//! The machine that this process runs on, as others know it.

/// Its name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
