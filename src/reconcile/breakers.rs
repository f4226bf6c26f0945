//! The breakers of a run: one for the API as a whole, one for each rack; and where others share these, one for our own way to
//! the API, of which nobody else hears: they may reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::trials::{Trials, follow};
use crate::api::{Attempt, Meaning};
use crate::breaker::{Breaker, Health, Purpose};
use crate::ledger::{LeftAlone, RackNo, Sick, Trial};

#[derive(Debug)]
pub(super) struct Breakers {
    api: Breaker,
    /// Stays closed where nobody shares them.
    way: Breaker,
    /// Where we were answered ill, another worker was answered well: until we are, too, it may be that something on our way
    /// answers in the API's place.
    is_way_doubted: bool,
    racks: Vec<Breaker>,
    /// How many of the racks' are not closed.
    open: u32,
    /// `None` where nobody shares them.
    trials: Option<Trials>,
}

/// What a call was for, as each of its breakers sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purposes {
    api: Purpose,
    way: Purpose,
    rack: Purpose,
}

/// Which breakers a call opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) api: bool,
    pub(super) way: bool,
    pub(super) rack: bool,
}

impl Breakers {
    pub(super) fn new(racks: usize) -> Self {
        let [api, way] = [Breaker::of_api(), Breaker::of_api()];
        let racks = vec![Breaker::of_rack(); racks];
        Self { api, way, is_way_doubted: false, racks, open: 0, trials: None }
    }

    /// Others work on the run too.
    pub(super) fn share(&mut self) {
        self.trials = Some(Trials::default());
    }

    /// Whether others work on the run at the moment.
    pub(super) fn beside(&mut self, others: bool) {
        self.way.beside(others);
        self.is_way_doubted &= others;
    }

    pub(super) fn api_is_closed(&self) -> bool {
        self.api.is_closed() && self.way_is_closed()
    }

    /// Whether the API is left alone by all.
    pub(super) fn api_is_sick(&self) -> bool {
        !self.api.is_closed()
    }

    /// Whether the API can be reached from here, as far as that is known apart from whether it is well.
    pub(super) fn way_is_closed(&self) -> bool {
        self.way.is_closed()
    }

    /// Whether the API as a whole may be called now, or the earliest moment at which it may be.
    pub(super) fn api_allows(&self, now: Instant) -> Result<(), Option<Instant>> {
        self.way.allows(now).and_then(|()| self.api.allows(now))
    }

    pub(super) fn rack_is_closed(&self, no: RackNo) -> bool {
        self.racks[no.0 as usize].is_closed()
    }

    /// How many VMs of a rack to have claimed, where that is `ahead` of one that is well.
    pub(super) fn ahead(&self, no: RackNo, ahead: u32) -> u32 {
        let rack = &self.racks[no.0 as usize];
        match rack.is_closed() {
            true => ahead,
            false => rack.is_tried().into(),
        }
    }

    pub(super) fn all_are_closed(&self) -> bool {
        self.api_is_closed() && self.open == 0
    }

    /// The racks that are left alone at the moment.
    pub(super) fn open_racks(&self) -> impl Iterator<Item = RackNo> {
        (0..).map(RackNo).zip(&self.racks).filter(|(_, rack)| !rack.is_closed()).map(|(no, _)| no)
    }

    /// Whether a call for a VM of this rack may leave now, or the earliest moment at which one may.
    pub(super) fn allows(&self, no: RackNo, now: Instant) -> Result<(), Option<Instant>> {
        self.api_allows(now).and_then(|()| self.racks[no.0 as usize].allows(now))
    }

    pub(super) fn left(&mut self, no: RackNo, now: Instant) -> Purposes {
        let [api, way] = [&mut self.api, &mut self.way].map(|breaker| breaker.left(now));
        Purposes { api, way, rack: self.racks[no.0 as usize].left(now) }
    }

    /// Takes note of what came back; `is_first`: the VM had not been called in this run.
    pub(super) fn came_back(
        &mut self,
        no: RackNo,
        purposes: Purposes,
        is_first: bool,
        attempt: &Attempt,
        now: Instant,
    ) -> Opened {
        let health = self.seen_from_here(health(attempt, is_first));
        let announced = match &attempt.result {
            Err(fault) if fault.meaning != Meaning::Throttled => fault.retry_after.unwrap_or_default(),
            Ok(_) | Err(_) => Duration::ZERO,
        };
        // Whoever cannot be reached is the API, not one rack of it.
        let of_rack = if health == Health::Unreachable { Health::Unknown } else { health };
        let (of_api, of_way) = self.apart(health);
        let rack = &mut self.racks[no.0 as usize];
        let was_open = !rack.is_closed();
        let were_tried = [self.api.is_tried(), rack.is_tried()];
        // That a rack is sick is known once it is left alone, and opens no breaker of the API.
        let is_known = was_open && health == Health::Ill && self.api.is_closed();
        let opened = Opened {
            api: self.api.came_back(purposes.api, is_first && !is_known, of_api, announced, now),
            way: self.way.came_back(purposes.way, is_first, of_way, Duration::ZERO, now),
            rack: rack.came_back(purposes.rack, is_first, of_rack, announced, now),
        };
        self.open = self.open + u32::from(!rack.is_closed()) - u32::from(was_open);
        if let Some(trials) = &mut self.trials {
            trials.came_of((None, &mut self.api), purposes.api, were_tried[0], now);
            trials.came_of((Some(no), rack), purposes.rack, were_tried[1], now);
        }
        opened
    }

    /// Whoever answers us in the API's place keeps us from it; what is well does not.
    fn seen_from_here(&mut self, health: Health) -> Health {
        self.is_way_doubted &= health != Health::Well;
        if self.is_way_doubted && health == Health::Ill { Health::Unreachable } else { health }
    }

    /// What a call says of the API, and of our way there: whom we cannot reach others may.
    fn apart(&self, health: Health) -> (Health, Health) {
        match health {
            _ if self.trials.is_none() => (health, Health::Unknown),
            Health::Unreachable => (Health::Unknown, Health::Unreachable),
            Health::Unknown => (Health::Unknown, Health::Unknown),
            Health::Well | Health::Ill => (health, Health::Well),
        }
    }

    fn breaker(&mut self, sick: Sick) -> &mut Breaker {
        match sick {
            None => &mut self.api,
            Some(no) => &mut self.racks[no.0 as usize],
        }
    }

    fn all(&self) -> impl Iterator<Item = (Sick, &Breaker)> {
        let racks = (0..).map(|no| Some(RackNo(no))).zip(&self.racks);
        std::iter::once((None, &self.api)).chain(racks)
    }

    /// What others are to hear of.
    pub(super) fn told(&mut self) -> impl Iterator<Item = (Sick, Trial)> {
        self.trials.iter_mut().flat_map(Trials::told)
    }

    /// All that is left alone, once `heard` more of what was told is known to all. Returns what we had not left alone before.
    pub(super) fn saw(&mut self, all: &[LeftAlone], heard: usize, now: Instant) -> Vec<Sick> {
        let Some(trials) = &mut self.trials else { return vec![] };
        let found = trials.found().clone();
        if !trials.heard(all, heard) {
            return vec![];
        }
        let known: BTreeMap<Sick, &LeftAlone> = all.iter().map(|left| (left.sick, left)).collect();
        let mut news = vec![];
        let every: Vec<Sick> = self.all().map(|(sick, _)| sick).collect();
        for sick in every {
            let breaker = self.breaker(sick);
            let was_closed = breaker.is_closed();
            follow(breaker, known.get(&sick).copied(), now);
            let is_closed = breaker.is_closed();
            news.extend((was_closed && !is_closed).then_some(sick));
            self.is_way_doubted |= !was_closed && is_closed && found.contains(&sick);
        }
        self.count_open();
        news
    }

    fn count_open(&mut self) {
        self.open = self.racks.iter().map(|rack| u32::from(!rack.is_closed())).sum();
    }

    /// Takes over what nobody tries and there are VMs for, and gives up what there are none for, or what could not be reached from
    /// here and is not to be called yet: `busy` are the racks with VMs.
    pub(super) fn share_trials(&mut self, busy: &BTreeSet<RackNo>, now: Instant) {
        let Some(trials) = self.trials.as_ref().filter(|trials| trials.are_heard()) else { return };
        let may_try = |no: &RackNo| {
            let rack = &self.racks[no.0 as usize];
            rack.is_closed() || rack.is_tried() || trials.untried().contains(&Some(*no))
        };
        let some_may_be_called = busy.iter().any(may_try);
        // Where nobody reaches it, somebody is to find out when it can be reached again.
        let may_reach_it = self.way.wait(now).is_none_or(|wait| wait.is_zero());
        let has_vms = |sick: Sick| may_reach_it && sick.map_or(some_may_be_called, |no| busy.contains(&no));
        let given_up = self.all().filter(|(sick, breaker)| breaker.is_tried() && !has_vms(*sick));
        let given_up: Vec<Sick> = given_up.map(|(sick, _)| sick).collect();
        let taken: Vec<Sick> = trials.untried().iter().copied().filter(|sick| has_vms(*sick)).collect();
        for sick in given_up {
            self.breaker(sick).leave();
            self.tell(sick, Trial::GivenUp);
        }
        for sick in taken {
            self.tell(sick, Trial::TakenOver);
        }
    }

    fn tell(&mut self, sick: Sick, trial: Trial) {
        if let Some(trials) = &mut self.trials {
            trials.tell(sick, trial);
        }
    }

    /// Nothing is ours to try any more.
    pub(super) fn lapse(&mut self) {
        self.trials = self.trials.is_some().then(Trials::default);
        for breaker in self.racks.iter_mut().chain([&mut self.api]).filter(|breaker| breaker.is_tried()) {
            breaker.leave();
        }
    }
}

fn health(attempt: &Attempt, is_first: bool) -> Health {
    let Some(meaning) = attempt.meaning() else { return Health::Well };
    match meaning {
        // One connection's end turns away all that are on it, and says nothing; if it goes on like that, it does.
        Meaning::Unseen if is_first => Health::Unknown,
        Meaning::Unseen | Meaning::Unreachable => Health::Unreachable,
        Meaning::Throttled
        | Meaning::NotReady
        | Meaning::Conflict
        | Meaning::EdgeConflict
        | Meaning::Hampered => Health::Unknown,
        Meaning::Edge | Meaning::Transient => Health::Ill,
        Meaning::Refused(_) | Meaning::NotFound | Meaning::Final => Health::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::answered;
    use crate::ledger::Tried;
    use crate::retry::delay;

    const PER_SECOND: u32 = 100;

    fn ill() -> Attempt {
        answered(500, b"{}")
    }

    fn well() -> Attempt {
        answered(404, b"{}")
    }

    /// First calls to a rack, all under way at the same time.
    fn first_calls(breakers: &mut Breakers, rack: u32, attempt: &Attempt, calls: usize) {
        let now = Instant::now();
        let left: Vec<Purposes> = (0..calls).map(|_| breakers.left(RackNo(rack), now)).collect();
        for purposes in left {
            breakers.came_back(RackNo(rack), purposes, true, attempt, now);
        }
    }

    #[test]
    fn what_an_answer_means_says_how_healthy_they_are() {
        for (status, body, health) in [
            (200, r#"{"success":false}"#, Health::Well),
            (200, "{}", Health::Ill),
            (401, "{}", Health::Well),
            (401, "no", Health::Ill),
            (404, "{}", Health::Well),
            (404, "no", Health::Well),
            (409, "{}", Health::Unknown),
            (409, r#"{"code":"vps_not_ready"}"#, Health::Unknown),
            (409, "no", Health::Unknown),
            (429, "{}", Health::Unknown),
            (501, "{}", Health::Well),
            (503, "{}", Health::Ill),
        ] {
            let attempt = answered(status, body.as_bytes());
            assert_eq!(super::health(&attempt, true), health, "{status} {body}");
            assert_eq!(super::health(&attempt, false), health, "{status} {body}");
        }
        let of = |meaning| {
            let mut attempt = ill();
            attempt.result.as_mut().unwrap_err().meaning = meaning;
            [true, false].map(|is_first| super::health(&attempt, is_first))
        };
        assert_eq!(of(Meaning::Hampered), [Health::Unknown; 2]);
        assert_eq!(of(Meaning::Unreachable), [Health::Unreachable; 2]);
        assert_eq!(of(Meaning::Unseen), [Health::Unknown, Health::Unreachable]);
    }

    #[test]
    fn however_many_calls_to_one_dead_rack_are_under_way_the_api_is_not_taken_for_dead() {
        let mut breakers = Breakers::new(2);
        first_calls(&mut breakers, 1, &well(), 20);
        first_calls(&mut breakers, 0, &ill(), 64);
        assert!(!breakers.rack_is_closed(RackNo(0)) && breakers.rack_is_closed(RackNo(1)));
        assert!(breakers.api_is_closed());
        first_calls(&mut breakers, 1, &ill(), 9);
        assert!(!breakers.api_is_closed(), "fifteen of the last twenty, and not of one rack alone");
    }

    /// Breakers of a worker, which has opened that of the API and is told who was the last to find it ill, while another one
    /// tries it.
    fn left_to_another(is_found_by_us: bool) -> Breakers {
        let mut breakers = Breakers::new(2);
        breakers.share();
        breakers.beside(true);
        for rack in [0, 1] {
            first_calls(&mut breakers, rack, &ill(), 8);
        }
        let told: Vec<_> = breakers.told().collect();
        assert!(matches!(told[..], [(None, Trial::Begins { .. })]), "{told:?}");
        let [wait, gap] = [1, 2].map(Duration::from_secs);
        let left = LeftAlone { sick: None, wait, gap, tried: Tried::ByOthers, is_found_by_us };
        breakers.saw(&[left], 1, Instant::now());
        assert_eq!(breakers.api_allows(Instant::now()), Err(None));
        breakers
    }

    #[test]
    fn whoever_found_ill_what_another_one_finds_well_leaves_all_to_the_others_if_it_fails_again() {
        for (is_found_by_us, is_alone, answers, is_cut_off) in [
            (true, false, &[ill(), ill()][..], true),
            (true, false, &[ill()], false),
            (true, false, &[well(), ill(), ill()], false),
            (true, true, &[ill(), ill()], false),
            (false, false, &[ill(), ill()], false),
        ] {
            let mut breakers = left_to_another(is_found_by_us);
            breakers.saw(&[], 0, Instant::now());
            assert!(breakers.api_is_closed());
            breakers.beside(!is_alone);
            for answer in answers {
                first_calls(&mut breakers, 0, answer, 1);
            }
            assert_eq!(!breakers.way_is_closed(), is_cut_off, "{is_found_by_us} {is_alone} {answers:?}");
            assert!(!breakers.api_is_sick(), "{is_found_by_us} {is_alone} {answers:?}");
        }
    }

    /// One VM that failed, to be called again.
    struct Again {
        due: Instant,
        rack: RackNo,
        attempts: u32,
    }

    /// A run whose calls are answered at once, at [`PER_SECOND`], while a share of them fails.
    struct Outage {
        breakers: Breakers,
        racks: u32,
        share: f64,
        /// Not first calls alone.
        retries_fail: bool,
        chance: fastrand::Rng,
        waiting: Vec<Again>,
        turn: u32,
    }

    impl Outage {
        fn new(racks: u32, share: f64, seed: u64) -> Self {
            let chance = fastrand::Rng::with_seed(seed);
            let breakers = Breakers::new(racks as usize);
            Self { breakers, racks, share, retries_fail: true, chance, waiting: vec![], turn: 0 }
        }

        /// The VM whose turn it is, if one may be called: those that wait for another call first.
        fn next(&mut self, now: Instant) -> Option<Again> {
            let may = |vm: &Again| vm.due <= now && self.breakers.allows(vm.rack, now).is_ok();
            if let Some(at) = self.waiting.iter().position(may) {
                return Some(self.waiting.remove(at));
            }
            let mut racks = (0..self.racks).map(|i| RackNo((self.turn + i) % self.racks));
            let rack = racks.find(|&rack| self.breakers.allows(rack, now).is_ok())?;
            self.turn = rack.0 + 1;
            Some(Again { due: now, rack, attempts: 0 })
        }

        fn call(&mut self, vm: &Again, now: Instant) {
            let purposes = self.breakers.left(vm.rack, now);
            let fails = (vm.attempts == 0 || self.retries_fail) && self.chance.f64() < self.share;
            let attempt = if fails { ill() } else { well() };
            self.breakers.came_back(vm.rack, purposes, vm.attempts == 0, &attempt, now);
            let attempts = vm.attempts + 1;
            if fails && attempts < 5 {
                let due = now + delay(attempts, self.chance.f64());
                self.waiting.push(Again { due, rack: vm.rack, attempts });
            }
        }

        /// How many calls it sees.
        fn lasts(mut self, seconds: u32) -> usize {
            let begun = Instant::now();
            let slots =
                (0..seconds * PER_SECOND).map(|slot| begun + slot * Duration::from_secs(1) / PER_SECOND);
            let mut calls = 0;
            for now in slots {
                let Some(vm) = self.next(now) else { continue };
                self.call(&vm, now);
                calls += 1;
            }
            calls
        }
    }

    #[test]
    fn where_every_first_call_fails_and_every_second_succeeds_no_probe_waits_for_long() {
        let begun = |racks| Outage { retries_fail: false, ..Outage::new(racks, 1.0, 1) };
        for racks in [1, 3, 20] {
            let calls = begun(racks).lasts(120);
            assert!(calls > 150, "{calls} calls in 120 s to {racks} racks");
        }
    }

    #[test]
    fn an_api_that_fails_sees_few_calls_whatever_chance_does() {
        for racks in [1, 2, 4, 10] {
            for seed in 0..25 {
                let half = Outage::new(racks, 0.5, seed).lasts(60);
                assert!(
                    half <= 1_200,
                    "{half} calls in a minute of half failing, {racks} racks, seed {seed}"
                );
                let all = Outage::new(racks, 1.0, seed).lasts(30);
                assert!(all <= 60 - 16, "{all} calls in 30 s, {racks} racks, seed {seed}");
            }
        }
    }
}
