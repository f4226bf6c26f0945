//! What the whole program's manual page and long help say beside its commands: exit codes, files, environment.

use std::fmt::Write;

/// A heading, and what stands under it: each thing with what is said of it.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

pub(super) const SECTIONS: [Section; 3] = [
    (
        "Exit codes",
        &[
            ("0", "complete, and no VM failed (or only such as --fail-on lets pass)"),
            ("1", "internal error: the ledger or a report could not be written, say"),
            ("2", "usage, configuration or inventory: nothing was called"),
            ("3", "complete, but some VMs failed (see --fail-on), or invalid rows were skipped"),
            ("4", "stopped by a brake"),
            ("5", "stopped by --deadline or --max-wait"),
            ("6", "another run holds the ledger, or does the same job"),
            ("7", "nothing selected, nothing to go on with, or no such VM"),
            ("8", "the API refused the key, or its certificate cannot be trusted"),
            ("10", "with --detailed-exitcode: something changed, or would; from diff: the runs differ"),
            (
                "11",
                "with --detailed-exitcode: something is not as the inventory expects; from audit: findings",
            ),
            ("130", "interrupted (SIGINT)"),
            ("143", "asked to terminate (SIGTERM, SIGHUP)"),
        ],
    ),
    (
        "Files",
        &[
            ("~/.config/v6fleet/config.toml", "options, as option = value; --config names another"),
            ("~/.local/state/v6fleet/ledger.db", "the ledger, and beside it its lock and log; --ledger"),
            ("~/.local/state/v6fleet/sandbox.db", "the ledger of rehearsals"),
            ("reports/RUN/", "the reports of a run; --output-dir"),
        ],
    ),
    (
        "Environment",
        &[
            ("V6FLEET_OPTION", "any option: V6FLEET_MAX_WAIT stands for --max-wait"),
            ("HOSTUP_API_KEY", "the API key, where no file has it"),
            ("CREDENTIALS_DIRECTORY", "systemd's: the API key is its file api-key"),
            ("XDG_CONFIG_HOME, XDG_STATE_HOME", "in place of ~/.config and ~/.local/state"),
            ("HTTPS_PROXY, ALL_PROXY, NO_PROXY", "the way to the API, where no --proxy is named"),
            ("PGPASSFILE, PGPASSWORD, PGSSLMODE", "as libpq has them, of a ledger in PostgreSQL"),
            ("NO_COLOR, TERM", "whether colours and a bar are shown"),
            ("LC_ALL, LC_CTYPE, LANG", "whether lines are drawn in UTF-8"),
        ],
    ),
];

/// Said after all else, by the long help and the short one.
pub(super) const FIRST_STEP: &str = "Start with a rehearsal, which needs no key and no network:\n  \
    v6fleet run inventories/demo.csv --sandbox";

/// What the long help of the whole program ends with.
pub(super) fn after_long_help() -> String {
    let mut out = String::new();
    for (heading, entries) in SECTIONS {
        let width = entries.iter().map(|(thing, _)| thing.len()).max().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{heading}:");
        for (thing, said) in entries {
            let _ = writeln!(out, "  {thing:width$}  {said}");
        }
        out.push('\n');
    }
    out + FIRST_STEP
}
