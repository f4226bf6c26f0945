//! How a run ended, in words: what every report for people says first.

use crate::ledger::Summary;
use crate::stop::Stop;

/// How good the news are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Mixed,
    Bad,
}

/// A run's end: a word for it, and the reason where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) tone: Tone,
    pub(super) word: &'static str,
    pub(super) why: Option<&'static str>,
}

impl Verdict {
    pub(super) fn of(summary: &Summary) -> Self {
        let (tone, word, why) = match (summary.stopped_by, summary.complete) {
            _ if summary.running => (Tone::Mixed, "Running", Some("it is not finished yet")),
            (Some(stop), _) => (Tone::Bad, "Stopped", Some(reason(stop))),
            (None, false) => (Tone::Mixed, "Not finished", Some("its process died")),
            (None, true) if summary.counts.failed > 0 => (Tone::Mixed, "Complete", None),
            (None, true) => (Tone::Good, "Complete", None),
        };
        Self { tone, word, why }
    }
}

fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::MaxWait => "the API kept it waiting for longer than --max-wait",
        Stop::Deadline => "its --deadline was reached",
        Stop::MaxDrift => "more VMs drifted than --max-drift allows",
        Stop::MaxChanged => "more VMs changed than --max-changed allows",
        Stop::MaxFailed => "more VMs failed than --max-failed allows",
        Stop::Canary => "a VM of the canary failed",
        Stop::AllFailed => "the first VMs all failed",
        Stop::CertificateRefused => "the API's certificate was refused",
        Stop::KeyRefused => "the API refused the key",
        Stop::Interrupted => "interrupted",
        Stop::Terminated => "asked to terminate",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_stop_has_its_own_words() {
        let words: BTreeSet<_> = Stop::ALL.iter().map(|&stop| reason(stop)).collect();
        assert_eq!(words.len(), Stop::ALL.len());
    }
}
