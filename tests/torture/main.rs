//! The long loops: whatever goes wrong, and whenever the program is killed or told to stop, its report says what the
//! sandbox's own record says.
//!
//! With small counts they are part of the suite; `make torture` runs all of it. Chance comes from a seed that is
//! printed, and `V6FLEET_TORTURE_SEED` gives it again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]
#![expect(clippy::print_stdout, reason = "seeds and counts are told, for whoever tries again")]

mod clocks;
mod exact;
mod gentle;
mod killed;
mod mutated;
mod outages;
mod racks;
mod rfc4180;
mod stopped;
mod trouble;
mod truth;
mod workers;

use support::{dialect, faketime, fixture, fleet, postgres, proxy, sandbox};
