//! Whose limit it is that holds the calls.

use crate::words::words;

words! {
    /// Who says how fast calls may leave.
    Whose {
        /// Whoever typed `--rate`.
        Typed = "typed",
        /// The API, which says its limit.
        Announced = "announced",
        /// An earlier run, whose finding is being tested.
        Remembered = "remembered",
        /// This run, which is looking for the API's limit.
        Learned = "learned",
    }
}
