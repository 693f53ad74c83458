// SPDX-License-Identifier: GPL-2.0

//! The scenes, in the order in which they are played.

use std::fmt;
use std::time::Duration;

use anyhow::{bail, Result};

use crate::kernel::limit;
use crate::process::Probe;

mod alloc_fails;
mod bad;
mod cached;
mod cow_race;
mod cow_stores;
mod devices;
mod direct_map;
mod error_tags;
mod files;
mod found;
mod fsdev;
mod grow;
mod heal;
mod hole;
mod huge;
mod last_reference;
mod lock_shared;
mod machine_check;
mod partitions;
pub mod platform;
mod processes;
mod races;
mod refuse;
mod remapped;
mod repair;
mod revoke;
mod shared_blocks;
mod short_write;
mod space;
mod states;
mod sync_cow;
mod table;
pub mod unbind;
mod unmap_first;
mod wb_error;
mod whole_page;
mod windows;

pub struct Scene {
    pub number: u32,
    pub name: &'static str,
    pub about: &'static str,
    pub deadline: Duration,
    /// Whether the scene runs for as long as the user asks, on top of the deadline.
    pub timed: bool,
    /// Whether it needs pmem that an ACPI NFIT describes: it is played when named only.
    pub nfit: bool,
    /// Whether it needs a kernel that fails on purpose: it is played when that is asked for, or
    /// when named.
    pub debug: bool,
    /// Why the stock kernel passes it, where it does: it shows nothing about the series alone.
    pub also_stock: Option<&'static str>,
    /// Plays the scene; the argument is that time in seconds.
    pub play: fn(u64) -> Result<()>,
}

impl Scene {
    const fn new(
        number: u32,
        name: &'static str,
        about: &'static str,
        play: fn(u64) -> Result<()>,
    ) -> Self {
        Self {
            number,
            name,
            about,
            deadline: Duration::from_secs(120),
            timed: false,
            nfit: false,
            debug: false,
            also_stock: None,
            play,
        }
    }

    const fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// It does much.
    const fn long(mut self) -> Self {
        self.deadline = Duration::from_secs(300);
        self
    }

    const fn nfit(mut self) -> Self {
        self.nfit = true;
        self
    }

    const fn debug(mut self) -> Self {
        self.debug = true;
        self
    }

    /// `dax-lab test --stock` holds the scene to it.
    const fn also_stock(mut self, why: &'static str) -> Self {
        self.also_stock = Some(why);
        self
    }

    /// Seconds beyond the deadline: those that the user asks for, and more where the machine is
    /// slow.
    pub fn scaled(&self, seconds: u64) -> u64 {
        let slow = limit(self.deadline.as_secs()) - self.deadline;
        slow.as_secs() + if self.timed { seconds } else { 0 }
    }
}

/// A line of the list, which `dax-lab` reads too.
impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:3} {:18} {}", self.number, self.name, self.about)?;
        if self.nfit {
            write!(f, " (nfit)")?;
        }
        match self.also_stock {
            Some(why) => write!(f, " (stock passes it too: {why})"),
            None => Ok(()),
        }
    }
}

// Those that hang where the kernel deadlocks come last: nothing can follow them.
/// Why the stock kernel passes a scene.
const UNCHANGED: &str = "the series must not change it";
const AS_GOOD: &str = "an earlier state of the series was worse than stock";
const LAB: &str = "it is about the lab's platform";
const NOTHING: &str = "stock has nothing that could be there";

pub const ALL: &[Scene] = &[
    Scene::new(
        1,
        "one-mapper",
        "one file, one process that maps it",
        files::one_mapper,
    )
    .also_stock(UNCHANGED),
    Scene::new(2, "shared", "a block that three files share", files::shared).also_stock(UNCHANGED),
    Scene::new(
        3,
        "partly-shared",
        "a file of which one half is shared",
        files::partly_shared,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        4,
        "deleted",
        "a file deleted while it is mapped",
        files::deleted,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        5,
        "metadata",
        "an inode block: shutdown, and remount",
        space::metadata,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        6,
        "no-rmapbt",
        "XFS cannot look owners up: the generic handler",
        devices::no_rmapbt,
    ),
    Scene::new(
        7,
        "log-device",
        "an external log device",
        devices::log_device,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        8,
        "realtime",
        "a realtime device with rmap and reflink",
        devices::realtime,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        10,
        "huge-page",
        "a block inside a 2 MiB mapping",
        files::huge_page,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        12,
        "not-consumed",
        "an error found by nobody's access",
        files::not_consumed,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        13,
        "free-space",
        "a block that nobody owns",
        space::free_space,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        14,
        "many-owners",
        "a block that 400 files share",
        files::many_owners,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        30,
        "threads",
        "which thread of a process is told",
        processes::threads,
    ),
    Scene::new(
        31,
        "shared-mm",
        "processes that have one address space",
        processes::shared_mm,
    ),
    Scene::new(
        32,
        "private",
        "a private mapping, with and without a copy",
        processes::private,
    ),
    Scene::new(
        33,
        "twice",
        "a page at two places of one process",
        processes::twice,
    ),
    Scene::new(
        39,
        "crowd",
        "a page that eighty processes map, and one of them twice",
        processes::crowd,
    ),
    Scene::new(
        34,
        "evicted",
        "a mapping that was taken away before",
        processes::evicted,
    ),
    Scene::new(
        35,
        "sysctl",
        "early kill for all, but for who asks for late",
        processes::sysctl,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        36,
        "late",
        "late kill: not told, but not left alone",
        processes::late,
    ),
    Scene::new(
        37,
        "filter",
        "errors that a tester filters out",
        processes::filter,
    ),
    Scene::new(
        38,
        "exiting",
        "processes that end while they are looked for",
        processes::exiting,
    )
    .also_stock(UNCHANGED),
    Scene::new(
        140,
        "revoke-race",
        "a page whose mapping is changed or moved while it fails",
        revoke::race,
    ),
    Scene::new(
        210,
        "remapped",
        "a file that gets another block before it is its turn (law 3)",
        remapped::play,
    )
    .long(),
    Scene::new(
        183,
        "dedupe-unwritten",
        "unwritten blocks that hold what another file has",
        shared_blocks::dedupe,
    ),
    Scene::new(
        184,
        "unshare-behind",
        "a shared block behind unwritten ones",
        shared_blocks::unshare,
    ),
    Scene::new(
        128,
        "lock-shared",
        "a page that fails while a second file comes to share it, without rmapbt",
        lock_shared::play,
    ),
    Scene::new(
        129,
        "sync-cow",
        "MAP_SYNC stores to blocks that files share",
        sync_cow::play,
    ),
    Scene::new(
        141,
        "generic-huge",
        "part of a huge page, without rmapbt",
        revoke::generic_huge,
    ),
    Scene::new(
        9,
        "unbind",
        "the driver unbound under two mappers",
        unbind::play,
    ),
    Scene::new(
        130,
        "verify-deleted",
        "a block of a file that is being deleted, while XFS scans it",
        repair::verify::deleted,
    ),
    Scene::new(
        11,
        "cow-race",
        "copy-on-write against injection (D1)",
        cow_race::play,
    )
    .timed(),
    Scene::new(
        16,
        "cow-stores",
        "stores to a block while a fault copies it",
        cow_stores::play,
    )
    .also_stock(UNCHANGED),
    // Where it is not contained, whatever is laid over its page next can crash.
    Scene::new(
        15,
        "machine-check",
        "a shared block, by a real #MC: contained, then overwritten",
        machine_check::play,
    ),
    Scene::new(
        145,
        "outlived",
        "a page that failed under devdax, and then is fsdax",
        revoke::outlived,
    ),
    Scene::new(
        142,
        "flood",
        "a handler that returns, and the log",
        revoke::flood,
    ),
    Scene::new(
        20,
        "refuse-faults",
        "page faults on a page that hardware reported (law 1)",
        refuse::faults,
    ),
    Scene::new(
        21,
        "refuse-cow",
        "write faults that copy from such a page (law 1)",
        refuse::cow,
    ),
    Scene::new(
        22,
        "refuse-huge",
        "such a page inside a 2 MiB mapping (law 1)",
        refuse::huge,
    ),
    Scene::new(
        27,
        "refuse-dirty",
        "such a page that was stored to, and fsync",
        refuse::dirty,
    ),
    Scene::new(
        23,
        "refuse-calls",
        "read(), copies and partial writes of such a page (law 1)",
        refuse::calls,
    ),
    Scene::new(
        24,
        "refuse-full",
        "more bad pages than the driver's list holds (law 1)",
        refuse::full,
    ),
    Scene::new(
        25,
        "refuse-sync",
        "an error between the halves of a MAP_SYNC write fault (law 1)",
        refuse::sync,
    ),
    Scene::new(
        28,
        "direct-map",
        "which pages that failed the kernel still maps (law 1)",
        direct_map::play,
    ),
    Scene::new(
        40,
        "heal-ways",
        "each way to get rid of a bad block",
        heal::ways,
    ),
    Scene::new(
        41,
        "heal-shared",
        "a bad block that three files share, written",
        heal::shared,
    ),
    Scene::new(
        42,
        "heal-twice",
        "a page that is reported again, and fails anew",
        heal::twice,
    ),
    Scene::new(
        43,
        "heal-sectors",
        "a bad page, written sector by sector",
        heal::sectors,
    ),
    Scene::new(
        44,
        "simulated",
        "simulated errors leave no mark",
        heal::simulated,
    ),
    Scene::new(
        45,
        "heal-at-once",
        "an early process that writes the page again when told",
        heal::at_once,
    )
    .long(),
    Scene::new(
        110,
        "short-write",
        "a write whose buffer ends early, to blocks that are shared or bad",
        short_write::play,
    ),
    Scene::new(
        111,
        "unmap-first",
        "calls that give a mapped file other blocks",
        unmap_first::play,
    ),
    Scene::new(
        112,
        "huge-alone",
        "2 MiB of a file that share its blocks, mapped twice",
        huge::alone,
    ),
    Scene::new(
        113,
        "huge-share",
        "2 MiB that two files share, both mapped, in every way",
        huge::share,
    ),
    Scene::new(114, "huge-cow", "the same with an error in it", huge::cow),
    Scene::new(
        115,
        "wb-error",
        "fsync() of what was stored to a page that failed",
        wb_error::xfs,
    ),
    Scene::new(
        116,
        "wb-error-no-rmapbt",
        "the same, of XFS that can't look owners up",
        wb_error::no_rmapbt,
    ),
    Scene::new(117, "wb-error-ext4", "the same, of ext4", wb_error::ext4),
    Scene::new(
        50,
        "free",
        "free blocks at the ends of AGs, by a real #MC (D2)",
        repair::free::real,
    ),
    Scene::new(
        51,
        "free-huge",
        "2 MiB of free space, page by page",
        repair::free::huge,
    ),
    Scene::new(
        52,
        "free-inject",
        "free blocks, by simulated errors",
        repair::free::injectors,
    ),
    Scene::new(
        53,
        "freed",
        "a bad block that its file gives away, in each way",
        repair::freed::after,
    ),
    Scene::new(
        54,
        "freed-at-once",
        "a block that fails before the log knows that it is free",
        repair::freed::at_once,
    ),
    Scene::new(
        213,
        "freed-busy",
        "a block is free in the log before it is cleared (law 5)",
        repair::busy::play,
    ),
    Scene::new(
        55,
        "unwritten",
        "space of a file that was never written",
        repair::unwritten::play,
    ),
    Scene::new(
        56,
        "unwritten-race",
        "such space, while it is written",
        repair::unwritten::race,
    ),
    Scene::new(
        64,
        "unwritten-swap",
        "such space of a swap file: it may have been written",
        repair::unwritten::swap,
    ),
    Scene::new(
        57,
        "staging",
        "space that a copy-on-write has left over (D8)",
        repair::staging::leftover,
    ),
    Scene::new(
        132,
        "staging-inject",
        "space that a copy-on-write has left over, by a simulated error (D8)",
        repair::staging::simulated,
    ),
    Scene::new(
        58,
        "staging-write",
        "space that a copy-on-write is filling",
        repair::staging::filling,
    ),
    Scene::new(
        59,
        "absent",
        "data of files that are not in memory (D9)",
        repair::absent::play,
    ),
    Scene::new(
        60,
        "known",
        "errors from before the mount",
        repair::known::play,
    ),
    Scene::new(
        65,
        "remount-rw",
        "errors from before a mount that is read-only at first",
        repair::again::remount,
    ),
    Scene::new(
        66,
        "grow-known",
        "errors behind the end of a filesystem that grows",
        repair::again::grow,
    ),
    Scene::new(
        67,
        "no-dax",
        "XFS on a device without DAX: nobody waits for errors",
        repair::again::elsewhere,
    )
    .also_stock(NOTHING),
    Scene::new(
        68,
        "meanwhile",
        "owners that are rid of a bad block before they are told",
        repair::told::meanwhile,
    )
    .long(),
    Scene::new(
        88,
        "order",
        "an error is told before a part of it is cleared",
        repair::told::order,
    ),
    Scene::new(
        89,
        "frozen-inode",
        "losses of a file that can't be read before the thaw",
        repair::told::frozen,
    ),
    Scene::new(
        69,
        "old-reader",
        "a health monitor that does not know of cleared errors",
        repair::told::old_reader,
    ),
    Scene::new(
        61,
        "refused",
        "free blocks that the firmware does not clear",
        repair::refused::play,
    )
    .nfit(),
    Scene::new(
        63,
        "free-realtime",
        "space of a realtime device that holds no data",
        repair::realtime::play,
    ),
    Scene::new(
        62,
        "free-race",
        "free blocks, while files are made and deleted",
        repair::stress::play,
    )
    .timed(),
    Scene::new(
        131,
        "verify-exact",
        "one bad sector that a scan by XFS finds",
        repair::verify::exact,
    ),
    Scene::new(
        70,
        "firmware",
        "the platform: ndctl injects errors and takes them back",
        platform::inject,
    )
    .nfit()
    .also_stock(LAB),
    Scene::new(
        71,
        "firmware-clear",
        "the platform: errors are cleared in part, or refused",
        platform::clear,
    )
    .nfit()
    .also_stock(LAB),
    Scene::new(
        72,
        "firmware-many",
        "the platform: a hundred errors",
        platform::many,
    )
    .nfit()
    .also_stock(LAB),
    Scene::new(
        73,
        "firmware-slow",
        "the platform: a scrub that takes its time",
        platform::slow,
    )
    .nfit()
    .also_stock(LAB),
    Scene::new(
        74,
        "consume",
        "an error that lies there until it is met",
        platform::consume,
    )
    .nfit()
    .also_stock(LAB),
    Scene::new(
        75,
        "superblock",
        "a page in front of the data, where the driver has its superblock",
        machine_check::superblock,
    )
    .nfit(),
    Scene::new(
        80,
        "scrub-mapped",
        "a block that mapped files share, injected by ndctl (D6)",
        repair::scrub::mapped,
    )
    .nfit(),
    Scene::new(
        81,
        "scrub-absent",
        "a file that nobody has open, injected by ndctl",
        repair::scrub::absent,
    )
    .nfit(),
    Scene::new(
        82,
        "scrub-free",
        "a free block, injected by ndctl",
        repair::scrub::free,
    )
    .nfit(),
    Scene::new(
        83,
        "scrub-metadata",
        "an inode block, injected by ndctl",
        repair::scrub::metadata,
    )
    .nfit(),
    Scene::new(
        84,
        "scrub-many",
        "a hundred errors that a scrub finds",
        repair::scrub::many,
    )
    .nfit(),
    Scene::new(
        85,
        "scrub-realtime",
        "blocks of a realtime device, injected by ndctl",
        repair::scrub::realtime,
    )
    .nfit(),
    Scene::new(
        86,
        "scrub-race",
        "blocks injected by ndctl, while files are made and deleted",
        repair::stress::injected,
    )
    .timed()
    .nfit(),
    Scene::new(
        87,
        "scrub-nobody",
        "a device in use that no filesystem holds",
        repair::scrub::nobody,
    )
    .nfit()
    .also_stock(UNCHANGED),
    Scene::new(
        90,
        "scrub-kept",
        "a sector of a page that is bad already, found without a holder",
        repair::marks::kept,
    )
    .nfit(),
    Scene::new(
        91,
        "scrub-no-mark",
        "a machine check that marks nothing, and a sector that a scrub finds",
        repair::marks::no_mark,
    )
    .nfit(),
    Scene::new(150, "grow", "space that growfs adds", grow::data).also_stock(AS_GOOD),
    Scene::new(
        151,
        "grow-realtime",
        "space that growfs adds to a realtime device",
        grow::realtime,
    ),
    Scene::new(
        152,
        "internal-realtime",
        "a realtime section inside of the data device",
        grow::internal,
    ),
    Scene::new(
        153,
        "partitions",
        "XFS and ext4 on partitions of one device",
        partitions::play,
    ),
    Scene::new(
        154,
        "cached",
        "blocks that the page cache has up to date",
        cached::play,
    ),
    Scene::new(
        155,
        "shut-down",
        "a filesystem that is shut down",
        states::shut_down,
    ),
    Scene::new(
        126,
        "shut-down-huge",
        "a 2 MiB mapping of a filesystem that is shut down",
        states::huge,
    ),
    Scene::new(
        156,
        "after-metadata",
        "a shutdown because metadata failed, then a mapped file",
        states::after_metadata,
    ),
    Scene::new(
        157,
        "read-only",
        "a filesystem that is mounted read-only, and without recovery",
        states::read_only,
    ),
    Scene::new(118, "frozen", "a filesystem that is frozen", states::frozen),
    Scene::new(
        119,
        "shut-down-removed",
        "the driver unbound under a filesystem that is shut down",
        states::removed,
    ),
    Scene::new(
        125,
        "grow-removed",
        "the driver of a realtime device unbound that was empty at mount",
        grow::removed,
    )
    .also_stock(AS_GOOD),
    Scene::new(
        120,
        "found-metadata",
        "a sector of the log or of inodes, injected by ndctl",
        found::metadata,
    )
    .nfit(),
    Scene::new(
        123,
        "found-headers",
        "a sector of a group's headers, injected by ndctl",
        found::headers,
    )
    .nfit(),
    Scene::new(
        124,
        "met-metadata",
        "a machine check in metadata of each kind",
        found::met,
    )
    .nfit()
    .also_stock(UNCHANGED),
    Scene::new(
        121,
        "found-log",
        "a sector of an external log, injected by ndctl",
        found::log,
    )
    .nfit(),
    Scene::new(
        122,
        "found-exact",
        "a sector of a block smaller than a page, injected by ndctl",
        found::exact,
    )
    .nfit(),
    Scene::new(
        158,
        "dio-from",
        "O_DIRECT from a mapping while its pages fail (law 1)",
        hole::dio::from,
    )
    .timed(),
    Scene::new(
        159,
        "dio-into",
        "O_DIRECT into a mapping while its pages fail (law 1)",
        hole::dio::into,
    )
    .timed(),
    Scene::new(
        160,
        "splice",
        "a page in a pipe that fails (law 1)",
        hole::pipe::splice,
    ),
    Scene::new(
        161,
        "writecache",
        "the pmem of a dm-writecache fails (law 1)",
        hole::cache::play,
    )
    .also_stock(AS_GOOD),
    Scene::new(
        162,
        "peek",
        "a process whose memory others read fails with 400 owners (law 1)",
        hole::peek::play,
    )
    .long(),
    Scene::new(
        163,
        "core-dump",
        "core dumps of pages that fail (law 1)",
        hole::dump::play,
    ),
    Scene::new(
        164,
        "parked",
        "errors while a reader waits in a page fault",
        hole::parked::play,
    ),
    Scene::new(
        211,
        "parked-writer",
        "an error where a write waits in a page fault (law 1)",
        hole::writer::play,
    ),
    Scene::new(
        180,
        "last-reference",
        "a deleted file, a page of which is in a pipe, that only a notification refers to",
        last_reference::play,
    )
    .long(),
    Scene::new(
        181,
        "unmount-at-once",
        "errors from before a mount that ends at once: their losses are told",
        repair::ending::unmount,
    ),
    Scene::new(
        182,
        "freeze-fails",
        "a freeze that fails: what was stopped for it goes on",
        repair::ending::freeze,
    )
    .nfit(),
    Scene::new(
        165,
        "list-shown",
        "the list of bad blocks, full, read from sysfs",
        table::shown,
    ),
    Scene::new(
        166,
        "list-split",
        "the list of bad blocks, full, and a page in the middle of a range written",
        table::split,
    ),
    Scene::new(
        212,
        "list-whole",
        "a page that is bad as a whole, written in part",
        whole_page::play,
    ),
    Scene::new(
        167,
        "list-poll",
        "who polls the list of bad blocks is woken",
        table::poll,
    ),
    Scene::new(
        168,
        "scrub-flood",
        "600 errors that a scrub finds: more than the list of bad blocks holds",
        repair::flood::play,
    )
    .nfit()
    .long(),
    Scene::new(
        169,
        "fsdev",
        "memory that failed under fsdev_dax, then used by pmem",
        fsdev::fsdev,
    ),
    Scene::new(
        170,
        "devdax",
        "memory that failed under device_dax, then used by pmem",
        fsdev::devdax,
    ),
    Scene::new(
        143,
        "scrub-pages",
        "many pages of one process that a scrub finds together",
        revoke::pages,
    )
    .nfit(),
    Scene::new(
        144,
        "scrub-ras",
        "what RAS daemons hear of a scrub",
        revoke::ras,
    )
    .nfit(),
    Scene::new(
        26,
        "refuse-race",
        "copies under way when a page of theirs fails (law 1)",
        refuse::race,
    )
    .timed(),
    Scene::new(
        190,
        "alloc-notify",
        "each allocation of a notification fails once",
        alloc_fails::notify,
    )
    .debug()
    .long(),
    Scene::new(
        191,
        "alloc-report",
        "each allocation of the reports after it fails once",
        alloc_fails::report,
    )
    .debug()
    .long(),
    Scene::new(
        192,
        "alloc-real",
        "the same, by machine checks, in a file that is not in memory",
        alloc_fails::real,
    )
    .debug()
    .long(),
    Scene::new(
        193,
        "alloc-repair",
        "each allocation of a repair fails once",
        alloc_fails::repair,
    )
    .debug()
    .long(),
    Scene::new(
        194,
        "alloc-mount",
        "each allocation of a mount with known errors fails once",
        alloc_fails::mount,
    )
    .debug()
    .long(),
    Scene::new(
        195,
        "error-tags",
        "errors that XFS makes itself, while memory fails",
        error_tags::play,
    )
    .debug()
    .long(),
    Scene::new(
        200,
        "window-remapped",
        "a file changes between query and act (law 3)",
        races::files::remapped,
    )
    .debug()
    .long(),
    Scene::new(
        201,
        "window-owners",
        "owners come and go between query and act",
        races::files::owners,
    )
    .debug()
    .long(),
    Scene::new(
        202,
        "window-locked",
        "what comes while the page is being taken away",
        races::files::locked,
    )
    .debug()
    .long(),
    Scene::new(
        203,
        "window-unmounted",
        "unmounted during a notification",
        races::mounts::unmounted,
    )
    .debug()
    .long(),
    Scene::new(
        204,
        "window-frozen",
        "frozen during a notification",
        races::mounts::frozen,
    )
    .debug()
    .long(),
    Scene::new(
        205,
        "window-changed",
        "grown, remounted, shut down during a notification",
        races::mounts::changed,
    )
    .debug()
    .long(),
    Scene::new(
        206,
        "window-repair",
        "what comes before a block is cleared",
        races::repair::all,
    )
    .debug()
    .long(),
    Scene::new(
        207,
        "window-unbound",
        "the driver goes during a notification",
        races::mounts::unbound,
    )
    .debug()
    .long(),
    Scene::new(
        208,
        "window-list",
        "the driver goes while its list of bad blocks is read",
        races::mounts::list,
    )
    .debug()
    .long(),
    Scene::new(
        209,
        "window-again",
        "a page fails again while a write clears it",
        races::repair::again,
    )
    .debug()
    .long(),
    Scene::new(
        214,
        "window-unwritten",
        "unwritten space is written while it is repaired (law 5)",
        races::repair::unwritten,
    )
    .debug()
    .long(),
    Scene::new(
        215,
        "window-freed",
        "a block fails that has no owner, and is not free yet (law 5)",
        races::repair::freed,
    )
    .debug()
    .long(),
    Scene::new(
        216,
        "window-reported",
        "a report has the last reference to a file, and umount",
        races::mounts::reported,
    )
    .debug()
    .long(),
    Scene::new(
        217,
        "window-written",
        "a file is written before it is told what it has lost (law 8)",
        races::repair::written,
    )
    .debug()
    .long(),
    Scene::new(
        218,
        "window-mounting",
        "a block fails during a mount (law 6)",
        races::mounts::mounting,
    )
    .debug()
    .long(),
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
        [] => !s.nfit && !s.debug,
        _ => only.contains(&s.name),
    };
    Ok(ALL
        .iter()
        .filter(wanted)
        .filter(|s| !except.contains(&s.name))
        .collect())
}

/// The signals that a process saw, and whether it can still read its data: what
/// most rows compare. Simulated errors leave good memory behind.
fn fate(probe: &mut Probe) -> String {
    let seen = probe.seen();
    let after = probe.reads_on();
    if seen == after {
        return seen;
    }
    format!("{seen}, {after}")
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
        let anywhere = ALL.iter().filter(|s| !s.nfit && !s.debug).count();
        assert_eq!(select(&[], &[]).unwrap().len(), anywhere);
        assert_eq!(select(&strings(&["9", "deleted"]), &[]).unwrap().len(), 2);
        assert_eq!(select(&strings(&["refused"]), &[]).unwrap().len(), 1);
        assert_eq!(select(&[], &strings(&["11"])).unwrap().len(), anywhere - 1);
        assert!(select(&strings(&["x"]), &[]).is_err());
    }
}
