// SPDX-License-Identifier: GPL-2.0

//! What there is of one page, and of the tasks that get at it.

/// What the address of a page is used in, and what `pmem_unmap_work()` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Section {
    /// `dax_read_lock()`: `read()`, and the copy of a copy on write by fs/dax.c.
    Srcu,
    /// `rcu_read_lock()`: `dax_flush_pages()`.
    Rcu,
    /// A bio holds `q_usage_counter`: `pmem_do_read()`.
    Queue,
}

/// How the page is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Write {
    /// `pmem_recovery_write()`, in SRCU: the marks go after the data is written.
    Recovery,
    /// `pmem_do_write()` by `zero_page_range()`, in SRCU: the marks go before.
    Zero,
    /// `pmem_do_write()` in a bio.
    Bio,
}

impl Write {
    pub(super) fn section(self) -> Section {
        match self {
            Self::Recovery | Self::Zero => Section::Srcu,
            Self::Bio => Section::Queue,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Notifier,
    Worker,
    Fault,
    Writer,
}

/// `memory_failure()`; one at a time, by `mf_mutex`. Each state says what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Notifier {
    Idle,
    SetFlag,
    List,
    LockEntry,
    Zap,
    Signal,
    UnmapLater,
    /// F4 only.
    Synchronize,
    Unmap,
    /// Stock only.
    SetMceNospec,
    NfitList,
}

/// `pmem_unmap_work()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Worker {
    Idle,
    Srcu,
    Rcu,
    Freeze,
    Frozen,
    Look,
    /// With `poison_lock`: no pin was seen.
    Unpinned,
    Thaw,
}

/// A page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    Out,
    Locked,
    Good,
    /// A synchronous one has unlocked its entry, for `vfs_fsync_range()`.
    Fsync,
    /// `dax_insert_pfn_mkwrite()` has locked it again.
    Relocked,
}

/// A task that has the page pinned, to use its address later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gup {
    Out,
    /// `gup_fast_pte_range()` has read the entry of the page table, ...
    SawPte,
    /// ... and has a reference.
    Grabbed,
    Pinned,
}

/// A task that reads or flushes the page by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    Out,
    In(Section),
    Good(Section),
}

/// A task that writes all of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Writer {
    Out,
    In,
    Good,
    Bad,
    Cleared,
    Present,
    /// `pmem_recovery_write()`: the data is there, and the page still marked.
    Copied,
    /// In `pmem_clear_bb()`, with `poison_lock`.
    Locked,
    Unflagged,
    Unlisted,
    /// All is done but to leave the section.
    Clean,
}

/// How often these may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) failures: u8,
    pub(super) faults: u8,
    pub(super) gups: u8,
    pub(super) reads: u8,
    pub(super) writes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The media has an error.
    pub(super) poison: bool,
    /// `PG_hwpoison`.
    pub(super) flag: bool,
    /// In the list of bad blocks.
    pub(super) listed: bool,
    /// The list was full once, and other pages carry the flag: it decides.
    pub(super) by_page: bool,
    /// Not in the direct map.
    pub(super) hole: bool,
    /// In a process's page tables.
    pub(super) pte: bool,
    /// References that are not of page tables.
    pub(super) pins: u8,
    /// The kernel has used the address while there was a hole.
    pub(super) oops: bool,
    /// Of a file that a process maps. If not, it is about to be allocated.
    pub(super) owned: bool,

    /// Which task has locked the file's DAX entry, and `poison_lock`.
    pub(super) entry: Option<Task>,
    pub(super) lock: Option<Task>,

    /// There was a machine check, for which `memory_failure()` has not begun.
    pub(super) reported: bool,
    pub(super) notifier: Notifier,

    /// `unmap_work` is queued.
    pub(super) queued: bool,
    /// `unmap_pfns`: the round in which the page was put there.
    pub(super) pending: Option<u8>,
    /// `unmap_round`; for F4 `pmem_put_back`.
    pub(super) round: u8,
    /// What was read of it.
    pub(super) noted: u8,
    pub(super) worker: Worker,
    /// Which tasks are waited for: they were in the section when the wait began.
    pub(super) await_reader: bool,
    pub(super) await_writer: bool,

    pub(super) fault: Fault,
    pub(super) gup: Gup,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) how: Write,
    /// The page was marked since the writer had its error cleared.
    pub(super) again: bool,

    pub(super) left: Budget,
}

impl State {
    pub(super) fn new(owned: bool, pte: bool, by_page: bool, budget: Budget) -> Self {
        let left = if owned {
            budget
        } else {
            Budget {
                faults: 0,
                gups: 0,
                ..budget
            }
        };

        Self {
            poison: false,
            flag: false,
            listed: false,
            by_page,
            hole: false,
            pte,
            pins: 0,
            oops: false,
            owned,
            entry: None,
            lock: None,
            reported: false,
            notifier: Notifier::Idle,
            queued: false,
            pending: None,
            round: 0,
            noted: 0,
            worker: Worker::Idle,
            await_reader: false,
            await_writer: false,
            fault: Fault::Out,
            gup: Gup::Out,
            reader: Reader::Out,
            writer: Writer::Out,
            how: Write::Zero,
            again: false,
            left,
        }
    }

    /// `pmem_is_bad()`, and what `__pmem_direct_access()` answers.
    pub(super) fn is_bad(&self) -> bool {
        self.listed || (self.by_page && self.flag)
    }

    /// Which sections the tasks are in: whether the reader is in this one, and the writer.
    pub(super) fn inside(&self, section: Section) -> (bool, bool) {
        let reader = matches!(self.reader, Reader::In(s) | Reader::Good(s) if s == section);
        let writer = self.writer != Writer::Out && self.how.section() == section;
        (reader, writer)
    }

    /// The address of the page in the direct map is used.
    pub(super) fn access(&mut self) {
        self.oops |= self.hole;
    }

    /// `memory_failure()` has dealt with all errors.
    pub(super) fn is_told(&self) -> bool {
        !self.reported && self.notifier == Notifier::Idle
    }

    /// The media is bad, and nothing says so.
    pub(super) fn is_unmarked(&self) -> bool {
        self.is_told() && self.poison && !self.is_bad()
    }

    /// All that was begun has ended.
    pub(super) fn is_idle(&self) -> bool {
        self.is_told()
            && !self.queued
            && self.worker == Worker::Idle
            && self.fault == Fault::Out
            && self.gup == Gup::Out
            && self.reader == Reader::Out
            && self.writer == Writer::Out
    }
}
