//! What the database is to heed while it works for us: for as long as a connection is ours, or in one transaction.

/// How long settings hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Session,
    Transaction,
}

/// Turned off: every statement finds its rows by their numbers and in their order, however many there are by now. What is
/// planned while a run is young would go through all of them, or sort them, later; compiling such plans would take longer than
/// they do.
const OFF: [&str; 7] = [
    "enable_seqscan",
    "enable_bitmapscan",
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_memoize",
    "enable_sort",
    "jit",
];

/// Who only reads.
pub(super) fn of_reader(scope: Scope) -> String {
    let off = OFF.map(|name| set(name, "off", scope));
    format!("SELECT {}, {}", off.join(", "), set("plan_cache_mode", "force_generic_plan", scope))
}

/// Who writes as well. A commit that has answered is on disk, whatever the server's own default is; a standby that has to have
/// it, too, is still waited for.
pub(super) fn of_writer(scope: Scope) -> String {
    let durable = set("synchronous_commit", "on", scope);
    let reader = of_reader(scope);
    format!("SELECT {durable} WHERE current_setting('synchronous_commit') IN ('off', 'local'); {reader}")
}

fn set(name: &str, value: &str, scope: Scope) -> String {
    format!("set_config('{name}', '{value}', {})", scope == Scope::Transaction)
}
