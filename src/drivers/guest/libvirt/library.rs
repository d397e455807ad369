//! libvirt's shared libraries, loaded when they are first needed instead of when the process starts.
//!
//! They bring some sixty others with them, which cost every command more than its own work; and a machine that has none
//! of them can still validate and plan from files. The binding calls libvirt's functions by their names: each name here
//! is a jump through [`SLOTS`], and [`load`] fills the slots. A function that is called before ends the process.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};

use crate::base::{Fault, FaultKind};

/// Loads libvirt, once for the whole process; nothing of the binding may be called before this has succeeded.
pub fn load() -> Result<(), Fault> {
    static LOADED: OnceLock<Result<(), Fault>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            EARLY.iter().for_each(|file| early(file));
            fill(FILES, &SLOTS)
        })
        .clone()
}

/// The largest of the libraries that libvirt's bring with them.
///
/// Every name that a library asks for is looked up in all that come with it. These ask for half of all names; loaded
/// before libvirt they are looked through alone, which takes a sixth off the whole. Elsewhere they may have other names.
const EARLY: &[&str] = &["libstdc++.so.6", "libcrypto.so.3", "libgnutls.so.30"];

/// Loads a library that libvirt will ask for; one that is not there is libvirt's to miss.
fn early(file: &str) {
    // SAFETY: as for libvirt's own; nothing of it is called from here.
    if let Ok(library) = unsafe { Library::open(Some(file), RTLD_LAZY) } {
        std::mem::forget(library);
    }
}

/// A file, and the functions that are looked for in it.
type File = (&'static str, &'static [&'static str]);

fn fill(files: &[File], slots: &[AtomicPtr<c_void>]) -> Result<(), Fault> {
    let mut slots = slots.iter();
    for (file, names) in files.iter().copied() {
        // SAFETY: libvirt's initialisers may be run on any thread at any time; the process makes no other use of them.
        let library = unsafe { Library::open(Some(file), RTLD_LAZY | RTLD_GLOBAL) }.map_err(|error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Fault::new(FaultKind::Unavailable, format!("loading {file}: {why}"))
                .help("install it: apt-get install libvirt0 libvirt-daemon-system")
        })?;
        for (name, slot) in names.iter().copied().zip(&mut slots) {
            // SAFETY: the address is only stored; who calls it takes the signature from libvirt's own headers.
            let found = unsafe { library.get::<*mut c_void>(name) }.map_err(|_| {
                Fault::new(FaultKind::Unsupported, format!("{file} has no {name}: this libvirt is too old"))
                    .help("Debian 12 has one that is new enough (9.0)")
            })?;
            slot.store(*found, Ordering::Release);
        }
        // It stays loaded for as long as the process lives.
        std::mem::forget(library);
    }
    Ok(())
}

/// What stands in a slot until it is filled.
extern "C" fn not_loaded() {
    eprintln!("libvirt was called before it was loaded; this is a defect");
    std::process::abort();
}

/// Declares the functions of each file: their list, their slots, and a symbol for each that jumps to what its slot holds.
///
/// The symbols are hidden: libvirt's own libraries go on calling their own functions.
macro_rules! functions {
    ($($file:literal: $($name:ident)*;)*) => {
        const FILES: &[File] = &[$(($file, &[$(stringify!($name)),*])),*];
        const COUNT: usize = 0 $($(+ { stringify!($name); 1 })*)*;
        static SLOTS: [AtomicPtr<c_void>; COUNT] =
            [const { AtomicPtr::new(not_loaded as extern "C" fn() as *mut c_void) }; COUNT];
        std::arch::global_asm!(
            ".text",
            ".set reeve_slot, 0",
            $($(
                concat!(".globl ", stringify!($name)),
                concat!(".hidden ", stringify!($name)),
                concat!(".type ", stringify!($name), ", %function"),
                concat!(stringify!($name), ":"),
                jump!(),
                ".set reeve_slot, reeve_slot + 8",
            )*)*
            slots = sym SLOTS,
        );
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp qword ptr [rip + {slots} + reeve_slot]"
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "adrp x16, {slots} + reeve_slot\n ldr x16, [x16, :lo12:{slots} + reeve_slot]\n br x16"
    };
}

functions! {
    "libvirt.so.0":
    virConnectBaselineCPU virConnectClose virConnectCompareCPU virConnectDomainEventDeregisterAny
    virConnectDomainEventRegisterAny virConnectDomainXMLFromNative virConnectDomainXMLToNative
    virConnectFindStoragePoolSources virConnectGetAllDomainStats virConnectGetCPUModelNames virConnectGetCapabilities
    virConnectGetDomainCapabilities virConnectGetHostname virConnectGetLibVersion virConnectGetMaxVcpus
    virConnectGetSysinfo virConnectGetType virConnectGetURI virConnectGetVersion virConnectIsAlive
    virConnectIsEncrypted virConnectIsSecure virConnectListAllDomains virConnectListAllInterfaces
    virConnectListAllNWFilters virConnectListAllNetworks virConnectListAllNodeDevices virConnectListAllSecrets
    virConnectListAllStoragePools virConnectListDefinedDomains virConnectListDefinedInterfaces
    virConnectListDefinedNetworks virConnectListDefinedStoragePools virConnectListDomains virConnectListInterfaces
    virConnectListNWFilters virConnectListNetworks virConnectListSecrets virConnectListStoragePools
    virConnectNumOfDefinedDomains virConnectNumOfDefinedInterfaces virConnectNumOfDefinedNetworks
    virConnectNumOfDefinedStoragePools virConnectNumOfDomains virConnectNumOfInterfaces virConnectNumOfNWFilters
    virConnectNumOfNetworks virConnectNumOfSecrets virConnectNumOfStoragePools virConnectOpen virConnectOpenAuth
    virConnectOpenReadOnly virConnectRef virConnectSetKeepAlive virDomainAddIOThread virDomainAttachDevice
    virDomainAttachDeviceFlags virDomainBlockResize virDomainBlockStats virDomainCoreDump virDomainCoreDumpWithFormat
    virDomainCreate virDomainCreateWithFlags virDomainCreateXML virDomainDefineXML virDomainDefineXMLFlags
    virDomainDelIOThread virDomainDestroy virDomainDestroyFlags virDomainDetachDevice virDomainDetachDeviceFlags
    virDomainFree virDomainGetAutostart virDomainGetBlockInfo virDomainGetConnect virDomainGetHostname virDomainGetID
    virDomainGetInfo virDomainGetJobInfo virDomainGetJobStats virDomainGetMaxMemory virDomainGetMaxVcpus
    virDomainGetMemoryParameters virDomainGetMetadata virDomainGetName virDomainGetNumaParameters virDomainGetOSType
    virDomainGetSchedulerParameters virDomainGetSchedulerParametersFlags virDomainGetSchedulerType virDomainGetState
    virDomainGetTime virDomainGetUUID virDomainGetUUIDString virDomainGetVcpusFlags virDomainGetXMLDesc
    virDomainHasManagedSaveImage virDomainInterfaceAddresses virDomainInterfaceFree virDomainInterfaceStats
    virDomainIsActive virDomainIsPersistent virDomainIsUpdated virDomainListAllSnapshots virDomainLookupByID
    virDomainLookupByName virDomainLookupByUUID virDomainLookupByUUIDString virDomainManagedSave
    virDomainManagedSaveRemove virDomainMemoryStats virDomainMigrate virDomainMigrate2 virDomainMigrate3
    virDomainMigrateGetCompressionCache virDomainMigrateGetMaxSpeed virDomainMigrateSetCompressionCache
    virDomainMigrateSetMaxDowntime virDomainMigrateSetMaxSpeed virDomainMigrateToURI virDomainMigrateToURI2
    virDomainMigrateToURI3 virDomainOpenChannel virDomainOpenConsole virDomainOpenGraphics virDomainOpenGraphicsFD
    virDomainPMWakeup virDomainPinEmulator virDomainPinVcpu virDomainPinVcpuFlags virDomainReboot virDomainRef
    virDomainRename virDomainReset virDomainRestore virDomainRestoreFlags virDomainResume virDomainRevertToSnapshot
    virDomainSaveImageDefineXML virDomainSaveImageGetXMLDesc virDomainScreenshot virDomainSendKey
    virDomainSetAutostart virDomainSetBlockIoTune virDomainSetBlockThreshold virDomainSetMaxMemory virDomainSetMemory
    virDomainSetMemoryFlags virDomainSetMemoryParameters virDomainSetMemoryStatsPeriod virDomainSetMetadata
    virDomainSetNumaParameters virDomainSetSchedulerParameters virDomainSetSchedulerParametersFlags virDomainSetTime
    virDomainSetUserPassword virDomainSetVcpus virDomainSetVcpusFlags virDomainShutdown virDomainShutdownFlags
    virDomainSnapshotCreateXML virDomainSnapshotCurrent virDomainSnapshotDelete virDomainSnapshotFree
    virDomainSnapshotGetConnect virDomainSnapshotGetDomain virDomainSnapshotGetName virDomainSnapshotGetParent
    virDomainSnapshotGetXMLDesc virDomainSnapshotHasMetadata virDomainSnapshotIsCurrent
    virDomainSnapshotListAllChildren virDomainSnapshotLookupByName virDomainSnapshotNum virDomainSnapshotNumChildren
    virDomainSnapshotRef virDomainStatsRecordListFree virDomainSuspend virDomainUndefine virDomainUndefineFlags
    virDomainUpdateDeviceFlags virEventRegisterDefaultImpl virEventRemoveHandle virEventRemoveTimeout
    virEventRunDefaultImpl virEventUpdateHandle virEventUpdateTimeout virGetLastError virGetVersion virInterfaceCreate
    virInterfaceDefineXML virInterfaceDestroy virInterfaceFree virInterfaceGetConnect virInterfaceGetMACString
    virInterfaceGetName virInterfaceGetXMLDesc virInterfaceIsActive virInterfaceLookupByMACString
    virInterfaceLookupByName virInterfaceRef virInterfaceUndefine virNWFilterDefineXML virNWFilterFree
    virNWFilterGetName virNWFilterGetUUID virNWFilterGetUUIDString virNWFilterGetXMLDesc virNWFilterLookupByName
    virNWFilterLookupByUUID virNWFilterLookupByUUIDString virNWFilterRef virNWFilterUndefine virNetworkCreate
    virNetworkCreateXML virNetworkDefineXML virNetworkDestroy virNetworkFree virNetworkGetAutostart
    virNetworkGetBridgeName virNetworkGetConnect virNetworkGetName virNetworkGetUUID virNetworkGetUUIDString
    virNetworkGetXMLDesc virNetworkIsActive virNetworkIsPersistent virNetworkLookupByName virNetworkLookupByUUID
    virNetworkLookupByUUIDString virNetworkRef virNetworkSetAutostart virNetworkUndefine virNetworkUpdate
    virNodeDeviceCreateXML virNodeDeviceDestroy virNodeDeviceDetachFlags virNodeDeviceDettach virNodeDeviceFree
    virNodeDeviceGetName virNodeDeviceGetParent virNodeDeviceGetXMLDesc virNodeDeviceListCaps
    virNodeDeviceLookupByName virNodeDeviceLookupSCSIHostByWWN virNodeDeviceNumOfCaps virNodeDeviceReAttach
    virNodeDeviceRef virNodeDeviceReset virNodeGetCellsFreeMemory virNodeGetFreeMemory virNodeGetFreePages
    virNodeGetInfo virNodeNumOfDevices virSecretDefineXML virSecretFree virSecretGetConnect virSecretGetUUID
    virSecretGetUUIDString virSecretGetUsageID virSecretGetUsageType virSecretGetValue virSecretGetXMLDesc
    virSecretLookupByUUID virSecretLookupByUUIDString virSecretLookupByUsage virSecretRef virSecretSetValue
    virSecretUndefine virSetErrorFunc virStoragePoolBuild virStoragePoolCreate virStoragePoolCreateXML
    virStoragePoolDefineXML virStoragePoolDelete virStoragePoolDestroy virStoragePoolFree virStoragePoolGetAutostart
    virStoragePoolGetConnect virStoragePoolGetInfo virStoragePoolGetName virStoragePoolGetUUID
    virStoragePoolGetUUIDString virStoragePoolGetXMLDesc virStoragePoolIsActive virStoragePoolIsPersistent
    virStoragePoolListAllVolumes virStoragePoolListVolumes virStoragePoolLookupByName virStoragePoolLookupByTargetPath
    virStoragePoolLookupByUUID virStoragePoolLookupByUUIDString virStoragePoolLookupByVolume
    virStoragePoolNumOfVolumes virStoragePoolRef virStoragePoolRefresh virStoragePoolSetAutostart
    virStoragePoolUndefine virStorageVolCreateXML virStorageVolCreateXMLFrom virStorageVolDelete virStorageVolDownload
    virStorageVolFree virStorageVolGetConnect virStorageVolGetInfo virStorageVolGetInfoFlags virStorageVolGetKey
    virStorageVolGetName virStorageVolGetPath virStorageVolGetXMLDesc virStorageVolLookupByKey
    virStorageVolLookupByName virStorageVolLookupByPath virStorageVolRef virStorageVolResize virStorageVolUpload
    virStorageVolWipe virStorageVolWipePattern virStreamAbort virStreamEventRemoveCallback
    virStreamEventUpdateCallback virStreamFinish virStreamFree virStreamNew virStreamRecv virStreamRef virStreamSend
    virTypedParamsAddLLong virTypedParamsAddULLong virTypedParamsFree;
    "libvirt-qemu.so.0":
    virDomainQemuAgentCommand virDomainQemuMonitorCommand;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(file: &'static str, names: &'static [&'static str]) -> Result<*mut c_void, Fault> {
        let slot = AtomicPtr::new(std::ptr::null_mut());
        fill(&[(file, names)], std::slice::from_ref(&slot))?;
        Ok(slot.into_inner())
    }

    #[test]
    fn a_library_that_is_not_there_is_said_to_be_missing() {
        let fault = filled("libvirt-of-no-host.so.0", &["virGetVersion"]).unwrap_err();
        assert!(fault.message.contains("libvirt-of-no-host.so.0"), "{}", fault.message);
        assert!(fault.help.unwrap().contains("install"));
    }

    #[test]
    fn a_library_without_the_function_is_said_to_be_too_old() {
        let fault = filled("libc.so.6", &["virGetVersion"]).unwrap_err();
        assert!(fault.message.contains("libc.so.6 has no virGetVersion"), "{}", fault.message);
        assert!(!filled("libc.so.6", &["getpid"]).unwrap().is_null());
    }
}
