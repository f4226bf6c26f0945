//! Where every request is decided: under one lock, which is never held across an await.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, Version};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{SetOnce, watch};
use tokio::time::Instant;

use super::answer::{Answer, Sending};
use super::clock::Clock;
use super::defect::Defects;
use super::fault::Fault;
use super::limit::{Limit, Quota};
use super::lottery::Lotteries;
use super::order::{Broken, Order};
use super::phase::{self, Weather};
use super::problem;
use super::respond::{self, Reaction, respond};
use super::route::{Kind, Route};
use super::spoil::spoil;
use super::state::{Call, State};
use super::{Settings, StartError, Timestamps};

const LONGEST_RECORDED_VMID: usize = 64;
/// What every request shares.
#[derive(Debug)]
pub(super) struct Api {
    settings: Settings,
    pub(super) clock: Clock,
    lotteries: Lotteries,
    orders: watch::Receiver<Order>,
    pub(super) first_call: Arc<SetOnce<Instant>>,
    desk: Mutex<Desk>,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) state: State,
    pub(super) defects: Defects,
    /// The VMs that were called before, where their first calls go wrong.
    called: HashSet<u64>,
    latencies: fastrand::Rng,
    request_ids: fastrand::Rng,
}

/// What one call comes to.
#[derive(Debug)]
struct Decision {
    /// The call's number in the record, if it is there.
    recorded: Option<usize>,
    fault: Option<Fault>,
    /// `None` where the connection is reset or nothing is ever answered.
    answer: Option<Answer>,
    request_id: String,
    delay: Duration,
    /// When the call arrived, on the clock that is shown.
    arrived: Timestamp,
}

impl Api {
    pub(super) fn new(
        settings: Settings,
        mut state: State,
        orders: watch::Receiver<Order>,
    ) -> Result<Self, StartError> {
        let desk = Desk {
            defects: defects(&settings, &mut state)?,
            state,
            called: HashSet::new(),
            latencies: fastrand::Rng::with_seed(settings.seed),
            request_ids: fastrand::Rng::with_seed(!settings.seed),
        };
        let clock = Clock::new(settings.clock);
        Ok(Self {
            lotteries: Lotteries::new(settings.seed, &settings.faults)?,
            settings,
            clock,
            orders,
            first_call: Arc::new(SetOnce::new()),
            desk: Mutex::new(desk),
        })
    }

    /// A request that panicked leaves the state whole: it changes it in its last step.
    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call takes effect and is recorded on arrival, whether or not its client waits for the answer.
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Bytes>) -> Response<Body> {
        let Decision { recorded, fault, answer, request_id, delay, arrived } = self.decide(&request);
        let answer = match (fault, recorded) {
            (Some(Fault::LateEffect), Some(number)) => self.act_late(&request, number, delay).await,
            _ => {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                answer
            }
        };
        let Some(answer) = answer else {
            return self.break_off(fault, request.version()).await;
        };
        if let Some(number) = recorded {
            self.desk().state.answered(number);
        }
        let now = self.clock.reading_now();
        let dated = match self.settings.timestamps {
            Timestamps::Answer => Some(now),
            Timestamps::Arrival => Some(arrived),
            Timestamps::Never => None,
        };
        let age = fault.map_or(SignedDuration::ZERO, Fault::age);
        let dated = dated.and_then(|at| at.checked_sub(age).ok());
        let path = request.uri().path();
        let sending = Sending { path, at: now, dated, request_id: &request_id, settings: &self.settings };
        spoil(answer.render(&sending), fault, self.finished())
    }

    /// Takes effect so much later, though its client may be gone by then.
    async fn act_late(
        self: &Arc<Self>,
        request: &Request<Bytes>,
        number: usize,
        delay: Duration,
    ) -> Option<Answer> {
        let request = request.clone();
        let api = Arc::clone(self);
        let acting = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let route = Route::of(request.uri().path())?;
            let ask = respond::read(route, &request).ok()?;
            let mut desk = api.desk();
            let now = api.clock.reading_now();
            let (effect, answer) = respond::act(&mut desk.state, now, route, &ask, None);
            desk.state.acted(number, effect, answer.status.as_u16());
            Some(answer)
        });
        acting.await.ok().flatten()
    }

    /// What comes in place of an answer.
    async fn break_off(&self, fault: Option<Fault>, version: Version) -> Response<Body> {
        let broken = match fault {
            Some(Fault::Silence(_)) if version == Version::HTTP_2 => Broken::Silence,
            Some(Fault::Hang(_) | Fault::Silence(_)) => {
                self.finished().await;
                Broken::Connection
            }
            Some(Fault::StreamReset(_)) => Broken::Stream,
            Some(Fault::RefusedStream) => Broken::Refused,
            Some(Fault::GoAway) => Broken::GoAway,
            _ => Broken::Connection,
        };
        broken_off(broken)
    }

    /// Waits until the server stops.
    fn finished(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut orders = self.orders.clone();
        async move {
            // An error says that nobody is left to give orders: that is the end as well.
            let _ = orders.wait_for(|&order| order == Order::Finish).await;
        }
    }

    fn decide(&self, request: &Request<Bytes>) -> Decision {
        let mut desk = self.desk();
        let request_id = uuid(&mut desk.request_ids);
        let latency = self.settings.latency.draw(&mut desk.latencies);
        let Some(route) = Route::of(request.uri().path()) else {
            let answer = Some(Answer::problem(problem::NO_SUCH_ROUTE));
            let arrived = self.clock.reading_now();
            return Decision { recorded: None, fault: None, answer, request_id, delay: latency, arrived };
        };
        let instant = Instant::now();
        let now = self.clock.at(instant);
        let arrived = self.clock.reading(now);
        let weather = self.weather(&mut desk, instant);
        let reaction = self.react(&mut desk, weather, now, route, request);
        let Reaction { action, effect, fault, answer } = reaction;
        let recorded = desk.state.record(Call {
            at: now,
            dialect: route.dialect(),
            kind: route.kind(request.method()),
            vmid: route.vmid().map(|vmid| vmid.chars().take(LONGEST_RECORDED_VMID).collect()),
            action,
            http: if request.version() == Version::HTTP_2 { "2" } else { "1" },
            status: answer.as_ref().map(|answer| answer.status.as_u16()),
            effect,
            fault: weather.outage.map(phase::Outage::name).or(fault.map(Fault::name)),
            answered: false,
        });
        let is_late = matches!(fault, Some(Fault::Late | Fault::LateEffect));
        let delay = if is_late { latency.saturating_add(self.settings.late) } else { latency };
        Decision { recorded: Some(recorded), fault, answer, request_id, delay, arrived }
    }

    /// Where the API as a whole stands when this call comes in.
    fn weather(&self, desk: &mut Desk, instant: Instant) -> Weather {
        if self.settings.phases.is_empty() {
            return Weather::default();
        }
        // An error says that there was a call before.
        let _ = self.first_call.set(instant);
        let first = self.first_call.get().copied().unwrap_or(instant);
        let Settings { ref phases, seed, .. } = self.settings;
        phase::weather(phases, seed, number_of(desk), instant.saturating_duration_since(first))
    }

    fn react(
        &self,
        desk: &mut Desk,
        weather: Weather,
        now: Timestamp,
        route: Route<'_>,
        request: &Request<Bytes>,
    ) -> Reaction {
        if let Some(outage) = weather.outage {
            return respond::fail(route, request, outage.fault());
        }
        let Settings { ref keys, limit, ref phases, .. } = self.settings;
        if !phases.is_empty() {
            desk.state
                .change_limit(weather.quota.map(|quota| quota_in_place_of(limit, quota)).or(limit), now);
        }
        let mut reaction = match respond::admit(&mut desk.state, keys, now, route, request) {
            Ok(admitted) => {
                let fault = self.fault(desk, route, route.kind(request.method()));
                respond(&mut desk.state, self.clock.reading(now), route, &admitted, fault)
            }
            Err(refusal) => refusal,
        };
        let standing = reaction.answer.as_mut().and_then(|answer| answer.standing.as_mut());
        if let Some(standing) = standing {
            standing.reset_at = self.clock.reading(standing.reset_at);
        }
        reaction
    }

    /// What goes wrong with this request, if anything.
    fn fault(&self, desk: &mut Desk, route: Route<'_>, kind: Kind) -> Option<Fault> {
        let vm = route.vmid().and_then(|id| desk.state.number(id));
        let of_vm = vm.and_then(|vm| self.fault_of(desk, vm));
        let fault = of_vm.or_else(|| self.lotteries.draw(kind, number_of(desk)));
        fault.filter(|fault| fault.befalls(kind))
    }

    /// What does with a VM's first call, or what always does.
    fn fault_of(&self, desk: &mut Desk, vm: u64) -> Option<Fault> {
        let first = self.settings.first_fault.filter(|_| desk.called.insert(vm));
        let always = || desk.defects.of(vm, desk.state.rack_of(vm));
        first.or_else(|| if desk.defects.is_empty() { None } else { always() })
    }
}

/// How many calls came in before this one.
fn number_of(desk: &Desk) -> u64 {
    desk.state.calls().len() as u64
}

/// A phase's quota, counted as the usual limit is.
fn quota_in_place_of(limit: Option<Limit>, quota: Quota) -> Limit {
    limit.map_or_else(|| Limit::token_bucket(quota, None), |limit| limit.with_quota(quota))
}

fn defects(settings: &Settings, state: &mut State) -> Result<Defects, StartError> {
    let mut defects = Defects::default();
    for (name, fault) in &settings.rack_faults {
        let rack = state.rack_named(name).ok_or_else(|| StartError::NoSuchRack(name.clone()))?;
        defects.set_rack(rack, Some(*fault));
    }
    for (vmid, fault) in &settings.vm_faults {
        defects.set_vm(state.vm(vmid).ok_or_else(|| StartError::NoSuchVm(vmid.clone()))?, Some(*fault));
    }
    Ok(defects)
}

/// Asks for a breach in place of an answer.
pub(super) fn broken_off(broken: Broken) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(broken);
    response
}

/// A UUID of version 4.
fn uuid(chance: &mut fastrand::Rng) -> String {
    let bits = chance.u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_4_uuids_and_differ() {
        let mut chance = fastrand::Rng::with_seed(0);
        let ids: std::collections::HashSet<String> = (0..1_000).map(|_| uuid(&mut chance)).collect();
        assert_eq!(ids.len(), 1_000);
        for id in ids {
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }
}
