// SPDX-License-Identifier: GPL-2.0

//! The scenes. To add one, write the function that plays it in the file of its subject, declare it
//! there with `scene!`, and put the constant into [`ALL`]. It makes a filesystem (setup.rs), does
//! what it is about, and calls `expect` for each row. What all scenes must leave behind is looked
//! at when it has returned (end.rs).

use anyhow::{bail, Result};

/// Declares a scene: constant, number, name, function and what it is about; after the semicolon,
/// what else is to be said of it, by methods of [`Scene`].
macro_rules! scene {
    ($id:ident = $number:literal $name:literal $play:ident: $about:literal
        $(; $($word:ident $(($($arg:expr),*))?),*)?
    ) => {
        pub const $id: $crate::scenes::Scene =
            $crate::scenes::Scene::new($number, $name, $about, $play)
                $($(.$word($($($arg),*)?))*)?;
    };
}

mod alloc_fails;
mod applications;
mod bad;
mod cached;
mod cow_race;
mod cow_stores;
mod cxl;
mod devices;
mod direct_map;
mod end;
mod error_tags;
mod files;
mod first_touch;
mod found;
mod fsdev;
mod grow;
mod heal;
mod hole;
mod huge;
mod last_reference;
mod lock_shared;
mod machine_check;
mod mapped;
mod metadata;
mod no_rmap;
mod owners;
pub mod partitions;
pub mod platform;
mod prelude;
mod processes;
mod races;
mod refuse;
mod remapped;
mod repair;
mod revoke;
mod scene;
mod setup;
mod shared_blocks;
mod short_write;
mod space;
mod states;
mod sync_cow;
mod table;
pub mod unbind;
mod unmap_first;
mod volume;
mod wb_error;
mod whole_page;
mod windows;

pub use scene::Scene;

/// In the order in which they are played. Nothing can follow one that hangs.
#[rustfmt::skip]
pub const ALL: &[Scene] = &[
    files::ONE_MAPPER, files::SHARED, files::PARTLY_SHARED, files::DELETED, space::METADATA,
    devices::NO_RMAPBT, devices::LOG_WRITES, devices::LOG_DEVICE, devices::REALTIME,
    files::HUGE_PAGE, files::NOT_CONSUMED, space::FREE_SPACE, files::MANY_OWNERS, processes::THREADS,
    processes::SHARED_MM, processes::PRIVATE, processes::TWICE, processes::CROWD,
    processes::EVICTED, processes::SYSCTL, processes::LATE, processes::FILTER, processes::EXITING,
    revoke::REVOKE_RACE, remapped::REMAPPED, shared_blocks::DEDUPE_UNWRITTEN,
    shared_blocks::UNSHARE_BEHIND, lock_shared::LOCK_SHARED, sync_cow::SYNC_COW,
    revoke::GENERIC_HUGE, unbind::UNBIND, repair::verify::VERIFY_DELETED, cow_race::COW_RACE,
    cow_stores::COW_STORES,
    // Where it is not contained, whatever is laid over its page next can crash.
    machine_check::MACHINE_CHECK, revoke::OUTLIVED, revoke::FLOOD, refuse::REFUSE_FAULTS,
    refuse::REFUSE_COW, refuse::REFUSE_HUGE, refuse::REFUSE_DIRTY, refuse::REFUSE_CALLS,
    refuse::REFUSE_FULL, refuse::REFUSE_SYNC, direct_map::DIRECT_MAP, heal::HEAL_WAYS,
    heal::HEAL_SHARED, heal::HEAL_TWICE, heal::HEAL_SECTORS, heal::SIMULATED, heal::HEAL_AT_ONCE,
    short_write::SHORT_WRITE, unmap_first::UNMAP_FIRST, huge::HUGE_ALONE, huge::HUGE_SHARE,
    huge::HUGE_COW, wb_error::WB_ERROR, wb_error::WB_ERROR_NO_RMAPBT, wb_error::WB_ERROR_EXT4,
    repair::free::FREE, repair::free::FREE_HUGE, repair::free::FREE_INJECT, repair::freed::FREED,
    repair::freed::FREED_AT_ONCE, repair::busy::FREED_BUSY, repair::unwritten::UNWRITTEN,
    repair::unwritten::UNWRITTEN_RACE, repair::unwritten::UNWRITTEN_SWAP,
    repair::staging::STAGING, repair::staging::STAGING_INJECT, repair::staging::STAGING_WRITE,
    repair::absent::ABSENT, repair::known::KNOWN, repair::again::REMOUNT_RW,
    repair::again::GROW_KNOWN, repair::again::NO_DAX, repair::told::MEANWHILE,
    repair::told::ORDER, repair::told::FROZEN_INODE, repair::told::OLD_READER,
    repair::refused::REFUSED, repair::realtime::FREE_REALTIME, repair::stress::FREE_RACE,
    repair::verify::VERIFY_EXACT, platform::FIRMWARE, platform::FIRMWARE_CLEAR,
    platform::FIRMWARE_MANY, platform::FIRMWARE_SLOW, platform::CONSUME,
    machine_check::SUPERBLOCK, repair::scrub::SCRUB_MAPPED, repair::scrub::SCRUB_ABSENT,
    repair::scrub::SCRUB_FREE, repair::scrub::SCRUB_METADATA, repair::scrub::SCRUB_MANY,
    repair::scrub::SCRUB_REALTIME, repair::stress::SCRUB_RACE, repair::scrub::SCRUB_NOBODY,
    repair::marks::SCRUB_KEPT, repair::marks::SCRUB_NO_MARK, grow::GROW, grow::GROW_REALTIME,
    grow::INTERNAL_REALTIME, partitions::PARTITIONS, partitions::PARTITIONS_SHARED,
    partitions::PARTITIONS_SCRUB, partitions::PARTITIONS_REMOVED, partitions::PARTITION_GROWN,
    no_rmap::EXT4, no_rmap::EXT4_SCRUB, no_rmap::EXT4_REMOVED, no_rmap::EXT4_SMALL,
    no_rmap::EROFS, no_rmap::EROFS_SCRUB, no_rmap::EROFS_REMOVED, no_rmap::NO_RMAP_SHARED,
    no_rmap::NO_RMAP_SCRUB, no_rmap::NO_RMAP_REMOVED, cached::CACHED, states::SHUT_DOWN,
    states::SHUT_DOWN_HUGE, states::READ_ONLY, states::FROZEN,
    states::SHUT_DOWN_REMOVED, grow::GROW_REMOVED, found::FOUND_METADATA, found::FOUND_HEADERS,
    found::MET_METADATA, found::FOUND_LOG, found::FOUND_EXACT, hole::dio::DIO_FROM,
    hole::dio::DIO_INTO, hole::pipe::SPLICE, hole::cache::WRITECACHE, hole::peek::PEEK,
    hole::dump::CORE_DUMP, hole::parked::PARKED, hole::writer::PARKED_WRITER,
    last_reference::LAST_REFERENCE, repair::ending::UNMOUNT_AT_ONCE, repair::ending::FREEZE_FAILS,
    table::LIST_SHOWN, table::LIST_SPLIT, whole_page::LIST_WHOLE, table::LIST_POLL,
    repair::flood::SCRUB_FLOOD, fsdev::FSDEV, fsdev::DEVDAX, revoke::SCRUB_PAGES,
    revoke::SCRUB_RAS, refuse::REFUSE_RACE, alloc_fails::ALLOC_NOTIFY, alloc_fails::ALLOC_REPORT,
    alloc_fails::ALLOC_REAL, alloc_fails::ALLOC_REPAIR, alloc_fails::ALLOC_MOUNT,
    error_tags::ERROR_TAGS, races::files::WINDOW_REMAPPED, races::files::WINDOW_OWNERS,
    races::files::WINDOW_LOCKED, races::mounts::WINDOW_UNMOUNTED, races::mounts::WINDOW_FROZEN,
    races::mounts::WINDOW_CHANGED, races::repair::WINDOW_REPAIR, races::mounts::WINDOW_UNBOUND,
    races::mounts::WINDOW_LIST, races::repair::WINDOW_AGAIN, races::repair::WINDOW_UNWRITTEN,
    races::repair::WINDOW_FREED, races::mounts::WINDOW_REPORTED, races::repair::WINDOW_WRITTEN,
    races::mounts::WINDOW_MOUNTING, repair::rebuild::REBUILD, mapped::LVM, mapped::LVM_STRIPED,
    mapped::LVM_EXTENDED, mapped::LVM_MOVED, mapped::LVM_SCRUB, mapped::LVM_REMOVED,
    mapped::DM_STACKED, mapped::DM_STACKED_REMOVED, mapped::DM_SUSPENDED,
    hole::parked::PARKED_REMOVED, hole::writer::WINDOW_COPIED,
    short_write::SHORT_COPY, metadata::HEALED, metadata::HEALED_DIRTY, metadata::HEALED_REALTIME,
    metadata::METADATA_LOST, metadata::FREE_LIST, metadata::HEAL_REFUSED, metadata::HEAL_READDIR,
    metadata::FOUND_HEALED, metadata::FOUND_LOST,
    metadata::healer::HEALER, first_touch::FIRST_READ, first_touch::FIRST_READ_OFF, first_touch::FIRST_BIO,
    first_touch::FIRST_COPY, first_touch::READ_BACK,
    owners::OWNERS, owners::OWNERS_BAD, owners::OWNERS_PATHS,
    owners::OWNERS_VOLUME, owners::OWNERS_SCAN, owners::FSMAP,
    applications::sqlite::SQLITE, applications::backup::BACKUP, applications::postgres::POSTGRES,
    applications::pmempool::PMEMPOOL, applications::daxio::DAXIO,
    applications::clear_errors::CLEAR_ERRORS, applications::rasdaemon::RASDAEMON,
    applications::healer::HEALER_NAMES, applications::fio::FIO, applications::stress::STRESS_NG,
    applications::guest_memory::GUEST_MEMORY,
    cxl::CXL_EVENT, cxl::CXL_CLEARED, cxl::CXL_FREE, cxl::CXL_ORDERS, cxl::list::CXL_LIST,
    cxl::list::CXL_LISTED, cxl::regions::CXL_INTERLEAVED, cxl::regions::CXL_REMOVED,
    cxl::CXL_WINDOW, cxl::load::CXL_LVM, cxl::load::CXL_FLOOD, cxl::ram::CXL_RAM, cxl::CXL_CPER, cxl::CXL_METADATA, cxl::list::CXL_CLEAR_ERROR,
];

pub fn find(name: &str) -> Result<&'static Scene> {
    let hit = |s: &&Scene| s.name == name || s.number.to_string() == name;
    match ALL.iter().find(hit) {
        Some(scene) => Ok(scene),
        None => bail!("no scene {name}; see dax-probe scenes --list"),
    }
}

/// The scenes in `only` (if empty, all that can be played anywhere) that are not in
/// `except`.
pub fn select(only: &[String], except: &[String]) -> Result<Vec<&'static Scene>> {
    let names = |list: &[String]| -> Result<Vec<&str>> {
        list.iter().map(|name| Ok(find(name)?.name)).collect()
    };
    let (only, except) = (names(only)?, names(except)?);
    let wanted = |s: &&Scene| match only[..] {
        [] => s.is_for_all(),
        _ => only.contains(&s.name),
    };
    Ok(ALL
        .iter()
        .filter(wanted)
        .filter(|s| !except.contains(&s.name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_found_by_name_and_number() {
        assert_eq!(find("9").unwrap().name, "unbind");
        assert_eq!(find("unbind").unwrap().number, 9);
        assert!(find("nine").is_err());
    }

    #[test]
    fn numbers_and_names_are_unique() {
        for (n, scene) in ALL.iter().enumerate() {
            let same = |s: &Scene| s.name == scene.name || s.number == scene.number;
            assert!(!ALL[n + 1..].iter().any(same), "{}", scene.name);
        }
    }

    #[test]
    fn selection() {
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let anywhere = ALL.iter().filter(|s| s.is_for_all()).count();
        assert_eq!(select(&[], &[]).unwrap().len(), anywhere);
        assert_eq!(select(&strings(&["9", "deleted"]), &[]).unwrap().len(), 2);
        assert_eq!(select(&strings(&["refused"]), &[]).unwrap().len(), 1);
        assert_eq!(select(&[], &strings(&["11"])).unwrap().len(), anywhere - 1);
        assert!(select(&strings(&["x"]), &[]).is_err());
    }
}
