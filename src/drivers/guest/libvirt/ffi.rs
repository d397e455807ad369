//! What libvirt has and the safe binding lacks: the one place with unsafe code but `library` and the process's end. Every
//! function here takes and gives plain Rust values; nothing of C gets out.
//!
//! - the event loop, on a thread of its own for the whole process, and domain events as [`Event`]s;
//! - the state of all domains in one call;
//! - the addresses of a guest's interfaces, some of which may have none of their own;
//! - typed parameters for disk throttles and processor shares.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Once, OnceLock};

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as sys;

use super::connection::Open;
use super::error::Failure;
use crate::base::Fault;

/// Readies libvirt's client side, once for the whole process: it is loaded, and prints no errors.
pub fn prepare() -> Result<(), Fault> {
    static READY: Once = Once::new();
    super::library::load()?;
    READY.call_once(virt::error::clear_error_callback);
    Ok(())
}

/// Starts the event loop, once for the whole process.
///
/// From then on every call on a connection that is opened later wakes the loop's thread, which costs as much as the call
/// itself; who only reads once does without. Connections that are open already stay as they are.
pub fn run_events() -> Result<(), Fault> {
    static RUNNING: OnceLock<Result<(), Fault>> = OnceLock::new();
    RUNNING
        .get_or_init(|| {
            prepare()?;
            virt::event::event_register_default_impl().map_err(|e| super::error::fault(&e))?;
            std::thread::Builder::new()
                .name("libvirt-events".into())
                .spawn(|| {
                    loop {
                        if virt::event::event_run_default_impl().is_err() {
                            // Never seen; must not become a busy loop.
                            std::thread::sleep(std::time::Duration::from_millis(100));
                        }
                    }
                })
                .map_err(|e| Fault::from(e).context("starting the thread for libvirt's events"))?;
            Ok(())
        })
        .clone()
}

/// What happened to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was defined, undefined, started, stopped, held or resumed.
    Lifecycle {
        /// libvirt's `virDomainEventType`.
        event: i32,
        /// Its detail.
        detail: i32,
    },
    /// The guest let go of the device of this alias.
    DeviceRemoved(String),
    /// The guest refused to let go of the device of this alias.
    DeviceKept(String),
    /// Something else of its state or configuration changed.
    Changed,
}

/// One event of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The domain.
    pub uuid: Uuid,
    /// What happened.
    pub what: What,
}

type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// Events of all domains of one connection, for as long as this lives.
pub struct Subscription {
    connection: Arc<Open>,
    ids: Vec<c_int>,
}

impl Subscription {
    /// Calls `sink` for every event; on libvirt's event thread, so it must be quick.
    pub fn new(connection: &Arc<Open>, sink: impl Fn(Event) + Send + Sync + 'static) -> Result<Self, Error> {
        let sink: Sink = Arc::new(sink);
        let mut subscription = Self { connection: connection.clone(), ids: Vec::new() };
        // SAFETY: each callback has the signature libvirt documents for its event, all of which start with the same
        // connection, domain and end with the opaque pointer; libvirt stores it under one generic type.
        let callbacks: [(sys::virDomainEventID, sys::virConnectDomainEventGenericCallback); 9] = unsafe {
            [
                (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, generic(lifecycle as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, generic(removed as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, generic(kept as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, generic(text as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, generic(number_and_text as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, generic(large as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, generic(text_and_number as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_DISK_CHANGE, generic(disk as *const c_void)),
                (sys::VIR_DOMAIN_EVENT_ID_TUNABLE, generic(parameters as *const c_void)),
            ]
        };
        for (event, callback) in callbacks {
            let opaque = Box::into_raw(Box::new(sink.clone())).cast::<c_void>();
            // SAFETY: the connection is open, the callback fits the event, and the opaque pointer stays valid until
            // libvirt hands it to `release`.
            let id = unsafe {
                sys::virConnectDomainEventRegisterAny(
                    connection.as_ptr(),
                    ptr::null_mut(),
                    event as c_int,
                    callback,
                    opaque,
                    Some(release),
                )
            };
            if id < 0 {
                // SAFETY: libvirt did not take the pointer.
                drop(unsafe { Box::from_raw(opaque.cast::<Sink>()) });
                return Err(Error::last_error());
            }
            subscription.ids.push(id);
        }
        Ok(subscription)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for id in &self.ids {
            // SAFETY: the id came from registering on this connection. A broken connection has let go of it already.
            let _ = unsafe { sys::virConnectDomainEventDeregisterAny(self.connection.as_ptr(), *id) };
        }
    }
}

/// # Safety
/// `callback` must be a function with the signature of the event it is registered for.
unsafe fn generic(callback: *const c_void) -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: a function pointer and an optional one of C's calling convention have the same size; see above.
    unsafe { std::mem::transmute::<*const c_void, sys::virConnectDomainEventGenericCallback>(callback) }
}

extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: this pointer was made from such a box when the callback was registered, and is given back once.
    drop(unsafe { Box::from_raw(opaque.cast::<Sink>()) });
}

/// Hands an event to the sink behind the opaque pointer.
///
/// # Safety
/// `domain` must be valid, and `opaque` one of the pointers made in [`Subscription::new`].
unsafe fn tell(domain: sys::virDomainPtr, opaque: *mut c_void, what: What) {
    // SAFETY: as the caller promises.
    let (Some(uuid), sink) = (unsafe { uuid_of(domain) }, unsafe { &*opaque.cast::<Sink>() }) else { return };
    // Nothing may unwind into C.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink(Event { uuid, what })));
}

/// # Safety
/// `domain` must be valid.
unsafe fn uuid_of(domain: sys::virDomainPtr) -> Option<Uuid> {
    let mut bytes = [0u8; 16];
    // SAFETY: as the caller promises; libvirt writes exactly 16 bytes.
    let done = unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) };
    (done == 0).then(|| Uuid::from_bytes(bytes))
}

/// # Safety
/// `text` must be null or a C string.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

type Conn = sys::virConnectPtr;
type Dom = sys::virDomainPtr;

// SAFETY of all callbacks: libvirt calls them with a valid domain and the pointer they were registered with.
extern "C" fn lifecycle(_: Conn, domain: Dom, event: c_int, detail: c_int, opaque: *mut c_void) -> c_int {
    unsafe { tell(domain, opaque, What::Lifecycle { event, detail }) };
    0
}
extern "C" fn removed(_: Conn, domain: Dom, alias: *const c_char, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::DeviceRemoved(owned(alias))) };
}
extern "C" fn kept(_: Conn, domain: Dom, alias: *const c_char, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::DeviceKept(owned(alias))) };
}
extern "C" fn text(_: Conn, domain: Dom, _: *const c_char, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::Changed) };
}
extern "C" fn number_and_text(_: Conn, domain: Dom, _: c_int, _: *const c_char, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::Changed) };
}
extern "C" fn text_and_number(_: Conn, domain: Dom, _: *const c_char, _: c_int, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::Changed) };
}
extern "C" fn large(_: Conn, domain: Dom, _: u64, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::Changed) };
}
extern "C" fn disk(
    _: Conn,
    domain: Dom,
    _: *const c_char,
    _: *const c_char,
    _: *const c_char,
    _: c_int,
    opaque: *mut c_void,
) {
    unsafe { tell(domain, opaque, What::Changed) };
}
extern "C" fn parameters(_: Conn, domain: Dom, _: *mut c_void, _: c_int, opaque: *mut c_void) {
    unsafe { tell(domain, opaque, What::Changed) };
}

/// One value of a domain's statistics.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any whole number.
    Number(i128),
    /// A text.
    Text(String),
    /// Anything else.
    Other,
}

/// The statistics of one domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// The domain.
    pub uuid: Uuid,
    /// Its values by libvirt's names (`state.state`).
    pub values: Vec<(String, Value)>,
}

impl Stats {
    /// The whole number of that name.
    pub fn number(&self, name: &str) -> Option<i128> {
        self.values
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, v)| if let Value::Number(n) = v { Some(*n) } else { None })
    }

    /// The text of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, v)| if let Value::Text(t) = v { Some(&**t) } else { None })
    }
}

/// These groups of statistics of all domains that the flags select, in one call.
pub fn all_stats(connection: &Connect, groups: u32, flags: u32) -> Result<Vec<Stats>, Error> {
    each_record(connection, groups, flags, |domain, values| {
        // SAFETY: domain and values are a record's.
        unsafe {
            let uuid = uuid_of(domain)?;
            Some(Stats { uuid, values: values.iter().map(|v| (owned(v.field.as_ptr()), value(v))).collect() })
        }
    })
}

/// A domain as one bulk call tells it.
pub struct Brief {
    /// To ask for more.
    pub handle: Domain,
    /// Its identifier.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its number while it runs.
    pub id: Option<u32>,
    /// libvirt's `virDomainState` and the reason that goes with it.
    pub state: Option<(u32, i32)>,
}

/// Every domain with its state, in one call.
pub fn briefs(connection: &Connect) -> Result<Vec<Brief>, Error> {
    each_record(connection, sys::VIR_DOMAIN_STATS_STATE, 0, |domain, values| {
        // SAFETY: domain and values are a record's; the handle has a reference of its own.
        unsafe {
            let uuid = uuid_of(domain)?;
            let named = |name: &CStr| values.iter().find(|v| CStr::from_ptr(v.field.as_ptr()) == name);
            let number = |name| match value(named(name)?) {
                Value::Number(n) => i32::try_from(n).ok(),
                _ => None,
            };
            let state = number(c"state.state").map(|s| (s.cast_unsigned(), number(c"state.reason").unwrap_or(0)));
            let id = Some(sys::virDomainGetID(domain)).filter(|id| *id != u32::MAX);
            let name = owned(sys::virDomainGetName(domain));
            if sys::virDomainRef(domain) < 0 {
                return None;
            }
            Some(Brief { handle: Domain::from_ptr(domain), uuid, name, id, state })
        }
    })
}

/// What `take` makes of each domain and its values in one bulk call; `None` leaves a domain out.
fn each_record<T>(
    connection: &Connect,
    groups: u32,
    flags: u32,
    mut take: impl FnMut(Dom, &[sys::virTypedParameter]) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: the connection is open and `records` is where libvirt puts its list.
    let count = unsafe { sys::virConnectGetAllDomainStats(connection.as_ptr(), groups, &raw mut records, flags) };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    let mut all = Vec::with_capacity(count);
    for i in 0..count {
        // SAFETY: libvirt gave a list of `count` valid records, each with `nparams` parameters.
        unsafe {
            let record = &**records.add(i);
            let length = usize::try_from(record.nparams).unwrap_or(0);
            let values = if length == 0 { &[][..] } else { std::slice::from_raw_parts(record.params, length) };
            all.extend(take(record.dom, values));
        }
    }
    // SAFETY: the list came from libvirt and is given back once.
    unsafe { sys::virDomainStatsRecordListFree(records) };
    Ok(all)
}

/// # Safety
/// The parameter must be one that libvirt filled in.
unsafe fn value(parameter: &sys::virTypedParameter) -> Value {
    // SAFETY: the type says which member of the union is set.
    unsafe {
        match parameter.type_ as u32 {
            sys::VIR_TYPED_PARAM_INT => Value::Number(parameter.value.i.into()),
            sys::VIR_TYPED_PARAM_UINT => Value::Number(parameter.value.ui.into()),
            sys::VIR_TYPED_PARAM_LLONG => Value::Number(parameter.value.l.into()),
            sys::VIR_TYPED_PARAM_ULLONG => Value::Number(parameter.value.ul.into()),
            sys::VIR_TYPED_PARAM_BOOLEAN => Value::Number(parameter.value.b.into()),
            sys::VIR_TYPED_PARAM_STRING => Value::Text(owned(parameter.value.s)),
            _ => Value::Other,
        }
    }
}

/// Parameters to give to libvirt; freed by it.
struct Parameters {
    list: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Parameters {
    fn new() -> Self {
        Self { list: ptr::null_mut(), count: 0, room: 0 }
    }

    fn unsigned(&mut self, name: &str, value: u64) -> Result<(), Failure> {
        let name = c_text(name)?;
        // SAFETY: the three fields belong together and are only changed by libvirt.
        let done = unsafe {
            sys::virTypedParamsAddULLong(
                &raw mut self.list,
                &raw mut self.count,
                &raw mut self.room,
                name.as_ptr(),
                value,
            )
        };
        if done < 0 { Err(Error::last_error().into()) } else { Ok(()) }
    }

    fn signed(&mut self, name: &str, value: i64) -> Result<(), Failure> {
        let name = c_text(name)?;
        // SAFETY: as above.
        let done = unsafe {
            sys::virTypedParamsAddLLong(
                &raw mut self.list,
                &raw mut self.count,
                &raw mut self.room,
                name.as_ptr(),
                value,
            )
        };
        if done < 0 { Err(Error::last_error().into()) } else { Ok(()) }
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: the list came from libvirt and is given back once.
        unsafe { sys::virTypedParamsFree(self.list, self.count) };
    }
}

fn c_text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| {
        Fault::new(crate::base::FaultKind::Invalid, format!("{text:?} has a NUL character")).help("take it out").into()
    })
}

/// Sets a disk's throttles (`total_iops_sec`, …); 0 takes a limit away.
pub fn set_block_io_tune(domain: &Domain, disk: &str, limits: &[(&str, u64)], flags: u32) -> Result<(), Failure> {
    let mut parameters = Parameters::new();
    for (name, value) in limits {
        parameters.unsigned(name, *value)?;
    }
    let disk = c_text(disk)?;
    // SAFETY: domain, name and parameters are valid for the call.
    let done = unsafe {
        sys::virDomainSetBlockIoTune(domain.as_ptr(), disk.as_ptr(), parameters.list, parameters.count, flags)
    };
    if done < 0 { Err(Error::last_error().into()) } else { Ok(()) }
}

/// A processor setting of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Microseconds of processor time for the whole domain in each period; -1 is no limit.
    Quota {
        /// The time.
        quota: i64,
        /// The period in microseconds.
        period: u64,
    },
    /// The share under contention, in the control group's own unit.
    Shares(u64),
}

/// Sets how the host's scheduler treats a domain.
pub fn set_schedule(domain: &Domain, schedule: Schedule, flags: u32) -> Result<(), Failure> {
    let mut parameters = Parameters::new();
    match schedule {
        Schedule::Quota { quota, period } => {
            parameters.unsigned("global_period", period)?;
            parameters.signed("global_quota", quota)?;
        }
        Schedule::Shares(shares) => parameters.unsigned("cpu_shares", shares)?,
    }
    // SAFETY: domain and parameters are valid for the call.
    let done =
        unsafe { sys::virDomainSetSchedulerParametersFlags(domain.as_ptr(), parameters.list, parameters.count, flags) };
    if done < 0 { Err(Error::last_error().into()) } else { Ok(()) }
}

/// Adds (`true`) or takes away the input/output thread of that number.
pub fn iothread(domain: &Domain, id: u32, add: bool, flags: u32) -> Result<(), Error> {
    // SAFETY: the domain is valid for the call.
    let done = unsafe {
        if add {
            sys::virDomainAddIOThread(domain.as_ptr(), id, flags)
        } else {
            sys::virDomainDelIOThread(domain.as_ptr(), id, flags)
        }
    };
    if done < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// The addresses of a domain's interfaces with their prefix lengths, by MAC, the loopback's left out.
pub fn addresses(domain: &Domain, source: u32) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut list: *mut sys::virDomainInterfacePtr = ptr::null_mut();
    // SAFETY: the domain is alive for the call, and `list` is where libvirt puts an array that is freed below.
    let count = unsafe { sys::virDomainInterfaceAddresses(domain.as_ptr(), &raw mut list, source, 0) };
    if count < 0 {
        return Err(Error::last_error());
    }
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for at in 0..usize::try_from(count).unwrap_or_default() {
        // SAFETY: libvirt gave `count` interfaces; each is read before it is freed, and not used after.
        unsafe {
            let interface = *list.add(at);
            let mac = owned((*interface).hwaddr).to_ascii_lowercase();
            if !matches!(&*mac, "" | "00:00:00:00:00:00") {
                let addresses = found.entry(mac).or_default();
                for which in 0..usize::try_from((*interface).naddrs).unwrap_or_default() {
                    let address = (*interface).addrs.add(which);
                    addresses.push(format!("{}/{}", owned((*address).addr), (*address).prefix));
                }
            }
            sys::virDomainInterfaceFree(interface);
        }
    }
    // SAFETY: the array itself was allocated by libvirt with malloc, and its members were freed above.
    unsafe { free(list.cast()) };
    Ok(found)
}

unsafe extern "C" {
    fn free(pointer: *mut c_void);
}
