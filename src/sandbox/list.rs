//! v2's list of the account's VMs: how a page is asked for, and how it is written.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Bytes;
use axum::http::{Method, Request};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::cursor;
use super::fault::ListFault;
use super::json::json;
use super::nullable::with_nulls;
use super::problem::{self, Problem};
use super::profile::Profile;
use super::state::State;

/// Items of a page, unless a `limit` says otherwise.
const DEFAULT_LIMIT: usize = 50;
const LIMITS: std::ops::RangeInclusive<usize> = 1..=100;
const PENDING_MAINTENANCE: &str = "pendingMaintenance";

/// The page that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    limit: usize,
    /// The last VM of the page before; 0 for the first page.
    after: u64,
    filter: Filter,
    with_maintenance: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    /// In lower case.
    name: Option<String>,
    primary_ip: Option<IpAddr>,
}

/// The parameters as they are typed.
#[derive(Debug, Default)]
struct Typed {
    limit: Option<String>,
    cursor: Option<String>,
    name: Option<String>,
    primary_ip: Option<String>,
    with_maintenance: bool,
}

pub(super) fn read(request: &Request<Bytes>) -> Result<Query, Problem> {
    if request.method() != Method::GET {
        return Err(problem::METHOD);
    }
    Query::read(request.uri().query().unwrap_or_default())
}

impl Typed {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut typed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let once = match &*name {
                "limit" => &mut typed.limit,
                "cursor" => &mut typed.cursor,
                "name" => &mut typed.name,
                "primaryIp" => &mut typed.primary_ip,
                "include" if value == PENDING_MAINTENANCE => {
                    typed.with_maintenance = true;
                    continue;
                }
                "include" => return Err(problem::INCLUDE),
                _ => return Err(problem::PARAMETERS),
            };
            if once.replace(value.into_owned()).is_some() {
                return Err(problem::PARAMETERS);
            }
        }
        Ok(typed)
    }
}

impl Query {
    fn read(query: &str) -> Result<Self, Problem> {
        let Typed { limit, cursor, name, primary_ip, with_maintenance } = Typed::read(query)?;
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |limit| limit.parse().map_err(|_| problem::LIMIT))?;
        let primary_ip = primary_ip.map(|ip| ip.parse().map_err(|_| problem::PRIMARY_IP)).transpose()?;
        let filter = Filter { name: name.map(|name| name.to_lowercase()), primary_ip };
        let start = |cursor: String| cursor::read(&cursor, &filter.text()).ok_or(problem::CURSOR);
        let after = cursor.map_or(Ok(0), start)?;
        if !LIMITS.contains(&limit) {
            return Err(problem::LIMIT);
        }
        Ok(Self { limit, after, filter, with_maintenance })
    }

    /// The page, and what goes wrong with it.
    pub(super) fn page(&self, state: &State, fault: Option<ListFault>) -> Answer {
        let vms: Vec<u64> = self.vms(state).take(self.limit + 1).collect();
        let page = &vms[..vms.len().min(self.limit)];
        let last = page.last().copied();
        let next = match fault {
            None => last.filter(|_| vms.len() > self.limit),
            Some(ListFault::SameCursor) => Some(self.after),
            Some(ListFault::DoubledItem | ListFault::MovedItem) => last.map(|last| last - 1),
        };
        let moved = last.filter(|_| fault == Some(ListFault::MovedItem));
        let data = page.iter().filter_map(|&vm| self.item(state, vm, moved == Some(vm))).collect();
        let next_cursor = next.map(|after| cursor::write(after, &self.filter.text()));
        Answer::document(false, json(&Page { data, next_cursor }))
    }

    fn vms(&self, state: &State) -> impl Iterator<Item = u64> {
        state.vms_after(self.after).filter(|&vm| self.filter.holds(vm, state.profile(vm)))
    }

    fn item(&self, state: &State, vm: u64, is_moving: bool) -> Option<Box<RawValue>> {
        let profile = state.profile(vm);
        let item = Item::new(vm, state.vps_id(vm).to_string(), profile, is_moving);
        let maintenance = self.with_maintenance.then_some(profile.pending_maintenance);
        let item = Item { pending_maintenance: maintenance, has_deadline: maintenance, ..item };
        let text = String::from_utf8(with_nulls(&item, state.nulls(vm))).ok()?;
        RawValue::from_string(text).ok()
    }
}

impl Filter {
    fn holds(&self, vm: u64, profile: &Profile) -> bool {
        let named = |wanted: &String| name_of(vm, profile).to_lowercase() == *wanted;
        let there = |wanted: IpAddr| primary_ip_of(vm, profile) == wanted;
        self.name.as_ref().is_none_or(named) && self.primary_ip.is_none_or(there)
    }

    /// What sets one list apart from another.
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    data: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    id: String,
    name: String,
    primary_ip: IpAddr,
    service_status: &'a str,
    power_state: &'a str,
    operating_system: &'a str,
    billing: Billing,
    tags: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_maintenance: Option<bool>,
    #[serde(rename = "pendingMaintenanceHasDeadline", skip_serializing_if = "Option::is_none")]
    has_deadline: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Billing {
    is_payg: bool,
}

impl<'a> Item<'a> {
    fn new(vm: u64, id: String, profile: &'a Profile, is_moving: bool) -> Self {
        let power_state =
            if is_moving { "stopping" } else { profile.power_state.as_deref().unwrap_or("running") };
        Self {
            id,
            name: name_of(vm, profile),
            primary_ip: primary_ip_of(vm, profile),
            service_status: profile.service_status.as_deref().unwrap_or("active"),
            power_state,
            operating_system: profile.operating_system.as_deref().unwrap_or("Debian 12"),
            billing: Billing { is_payg: profile.payg.unwrap_or(vm.is_multiple_of(2)) },
            tags: &profile.tags,
            pending_maintenance: None,
            has_deadline: None,
        }
    }
}

fn name_of(vm: u64, profile: &Profile) -> String {
    profile.name.as_deref().map_or_else(|| format!("vm-{vm}"), str::to_owned)
}

/// One of `10.0.0.0/8`, unless the world says otherwise.
fn primary_ip_of(vm: u64, profile: &Profile) -> IpAddr {
    let [.., a, b, c] = vm.to_be_bytes();
    profile.primary_ip.unwrap_or_else(|| Ipv4Addr::new(10, a, b, c).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_is_asked_with_is_checked() {
        let cursor = cursor::write(7, &Filter::default().text());
        for (query, expected) in [
            (String::new(), Ok((50, 0))),
            ("limit=1".into(), Ok((1, 0))),
            ("limit=100&include=pendingMaintenance&include=pendingMaintenance".into(), Ok((100, 0))),
            (format!("cursor={cursor}"), Ok((50, 7))),
            ("limit=0".into(), Err(problem::LIMIT)),
            ("limit=101".into(), Err(problem::LIMIT)),
            ("limit=-1".into(), Err(problem::LIMIT)),
            ("limit=".into(), Err(problem::LIMIT)),
            ("limit=1&limit=1".into(), Err(problem::PARAMETERS)),
            ("include=everything".into(), Err(problem::INCLUDE)),
            ("primaryIp=web".into(), Err(problem::PRIMARY_IP)),
            ("page=2".into(), Err(problem::PARAMETERS)),
            ("cursor=".into(), Err(problem::CURSOR)),
            (format!("cursor={cursor}&name=web"), Err(problem::CURSOR)),
        ] {
            let read = Query::read(&query).map(|query| (query.limit, query.after));
            assert_eq!(read, expected, "{query}");
        }
    }

    #[test]
    fn a_filter_holds_for_the_whole_name_in_any_case_and_for_the_address() {
        let profile = Profile { name: Some("Wéb 1".into()), ..Profile::default() };
        for (query, expected) in [
            ("name=w%C3%A9b+1", true),
            ("name=W%C3%89B%201", true),
            ("name=w%C3%A9b", false),
            ("primaryIp=10.0.39.16", true),
            ("primaryIp=10.0.39.17", false),
            ("primaryIp=10.0.39.16&name=x", false),
        ] {
            assert_eq!(Query::read(query).unwrap().filter.holds(10_000, &profile), expected, "{query}");
        }
    }
}
