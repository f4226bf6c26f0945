//! The API's two dialects, and what each calls a VM: tests know it by its number.

use std::fmt::Display;
use std::thread;

/// What the program and whoever it calls speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    V1,
    V2,
}

/// How the ids of v2 begin that the sandbox makes up; 19 digits follow.
const MADE_UP: &str = "vps_01hxa3b";

impl Dialect {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// What it calls the VM of this number.
    pub fn id(self, number: impl Display) -> String {
        match self {
            Self::V1 => number.to_string(),
            Self::V2 => format!("{MADE_UP}{:0>19}", number.to_string()),
        }
    }

    /// An inventory in which numbers stand first in each row, with ids in their place.
    pub fn inventory(self, csv: &str) -> String {
        let row = |row: &str| {
            let end = row.find([',', '\n']).unwrap_or(row.len());
            let (number, rest) = row.split_at(end);
            if number.is_empty() { rest.to_owned() } else { self.id(number) + rest }
        };
        let (header, rows) = csv.split_at(csv.find('\n').map_or(csv.len(), |end| end + 1));
        header.to_owned() + &rows.split_inclusive('\n').map(row).collect::<String>()
    }
}

/// The number of the VM that either dialect calls so.
pub fn number(id: &str) -> &str {
    id.strip_prefix(MADE_UP).map_or(id, |digits| digits.trim_start_matches('0'))
}

/// The same test in each dialect, side by side; the thread's name says in which one it failed.
pub fn in_each(test: impl Fn(Dialect) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for dialect in [Dialect::V1, Dialect::V2] {
            let builder = thread::Builder::new().name(dialect.name().to_owned());
            builder.spawn_scoped(scope, move || test(dialect)).unwrap();
        }
    });
}
