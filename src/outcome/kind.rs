//! The two kinds of run: one calls and changes, the other only looks.

use super::Outcome;
use crate::words::words;

words! {
    /// What a run does for its VMs.
    #[derive(Default)]
    Kind {
        /// Calls the API for each of them.
        #[default]
        Run = "run",
        /// Looks at each of them, and says what a call would do.
        Plan = "plan",
    }
}

impl Kind {
    /// What it can say of a VM, in the order in which people read it.
    pub fn outcomes(self) -> &'static [Outcome] {
        match self {
            Self::Run => &[Outcome::Created, Outcome::Unchanged, Outcome::Updated, Outcome::Failed],
            Self::Plan => {
                &[Outcome::Create, Outcome::Update, Outcome::Keep, Outcome::Blocked, Outcome::Failed]
            }
        }
    }
}
