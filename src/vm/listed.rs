//! One VM as the account's list has it.

use super::VmId;

/// What the API's list says of a VM, word for word; `None` is what it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listed {
    pub id: VmId,
    pub name: Option<String>,
    pub primary_ip: Option<String>,
    pub service_status: Option<String>,
    pub power_state: Option<String>,
    pub os: Option<String>,
    pub is_payg: Option<bool>,
    pub tags: Option<Vec<String>>,
    pub pending_maintenance: Option<bool>,
    pub pending_maintenance_has_deadline: Option<bool>,
}

#[cfg(test)]
impl Listed {
    /// A VM of which nothing else is said.
    pub(crate) fn unknown(id: VmId) -> Self {
        Self {
            id,
            name: None,
            primary_ip: None,
            service_status: None,
            power_state: None,
            os: None,
            is_payg: None,
            tags: None,
            pending_maintenance: None,
            pending_maintenance_has_deadline: None,
        }
    }
}
