//! How what belongs to runs is numbered: by one number, so that whatever an engine knows of its tables, it finds the rows of
//! one run side by side.

/// The number of an item or an event of a run: the same in all tables, in the order of each.
pub(super) fn number(run: i64, number: i64) -> i64 {
    run << 32 | number
}

/// The first and the last number of a run.
pub(super) fn span(run: i64) -> [i64; 2] {
    [number(run, 0), number(run, u32::MAX.into())]
}

/// The position of an item in the inventory.
pub(super) fn position(item: i64) -> i64 {
    item & i64::from(u32::MAX)
}
