//! Exit codes that are no [`crate::stop::Stop`].

pub(super) const COMPLETE: u8 = 0;
pub(super) const INTERNAL: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const FAILED: u8 = 3;
pub(super) const BRAKED: u8 = 4;
pub(super) const LOCKED: u8 = 6;
pub(super) const NOTHING: u8 = 7;
pub(super) const CHANGES: u8 = 10;
pub(super) const DRIFT: u8 = 11;
