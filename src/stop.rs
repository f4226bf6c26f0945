//! Why a run ended before every VM had its outcome, and the exit code that says so.

use crate::words::words;

words! {
    /// What stopped a run. Ordered by severity: if several apply, the greatest is reported.
    Stop {
        /// The API kept the run from settling a VM for longer than `--max-wait`.
        MaxWait = "max_wait",
        Deadline = "deadline",
        MaxDrift = "max_drift",
        MaxChanged = "max_changed",
        MaxFailed = "max_failed",
        Canary = "canary",
        /// The first settled VMs all failed.
        AllFailed = "all_failed",
        CertificateRefused = "certificate_refused",
        KeyRefused = "key_refused",
        Interrupted = "interrupted",
        Terminated = "terminated",
    }
}

impl Stop {
    /// Whether what the run did stopped it, and not what it met with.
    pub fn is_brake(self) -> bool {
        match self {
            Self::MaxDrift | Self::MaxChanged | Self::MaxFailed | Self::Canary | Self::AllFailed => true,
            Self::MaxWait
            | Self::Deadline
            | Self::CertificateRefused
            | Self::KeyRefused
            | Self::Interrupted
            | Self::Terminated => false,
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Self::MaxWait | Self::Deadline => 5,
            Self::MaxDrift | Self::MaxChanged | Self::MaxFailed | Self::Canary | Self::AllFailed => 4,
            Self::CertificateRefused | Self::KeyRefused => 8,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}
