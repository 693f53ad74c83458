// SPDX-License-Identifier: GPL-2.0

//! The tasks that use the page. Each function returns whether the step can be taken now.

use super::state::{Fault, Gup, Reader, Section, State, Task, Worker, Write, Writer};
use super::steps::Step::{self, *};
use super::{Guard, Order};

impl Order {
    /// A page fault in the mapping of a file.
    pub(super) fn fault(self, s: &mut State, step: Step) -> bool {
        match (step, s.fault) {
            // dax_iomap_pte_fault(): grab_mapping_entry() locks the entry.
            (Touch, Fault::Out) if s.left.faults > 0 && !s.pte && s.entry.is_none() => {
                s.left.faults -= 1;
                s.entry = Some(Task::Fault);
                s.fault = Fault::Locked;
            }
            // dax_fault_iter(): dax_iomap_direct_access(). SIGBUS if it is bad.
            (FaultLooks, Fault::Locked) if s.is_bad() => end_fault(s),
            (FaultLooks, Fault::Locked) => s.fault = Fault::Good,
            // vmf_insert_page_mkwrite(), dax_unlock_entry().
            (FaultMaps, Fault::Good) => {
                s.pte = true;
                end_fault(s);
            }
            // VM_FAULT_NEEDDSYNC: dax_finish_sync_fault() goes on without the lock.
            (FaultSyncs, Fault::Good) => {
                s.entry = None;
                s.fault = Fault::Fsync;
            }
            // dax_insert_pfn_mkwrite() locks the entry if dax_poisoned() says no.
            (SyncLooks, Fault::Fsync) if s.entry.is_none() => {
                if s.flag && !self.is_stock() && !self.lacks(Guard::SyncFault) {
                    s.fault = Fault::Out;
                } else {
                    s.entry = Some(Task::Fault);
                    s.fault = Fault::Relocked;
                }
            }
            (SyncMaps, Fault::Relocked) => {
                s.pte = true;
                end_fault(s);
            }
            _ => return false,
        }
        true
    }

    /// A task that reads or flushes by the address.
    pub(super) fn read(self, s: &mut State, step: Step) -> bool {
        match (step, s.reader) {
            // dax_read_lock(), rcu_read_lock(), bio_queue_enter().
            (ReadBegins(section), Reader::Out) if s.left.reads > 0 && may_enter(s, section) => {
                s.left.reads -= 1;
                s.reader = Reader::In(section);
            }
            // dax_direct_access(), dax_flush_pages(), pmem_do_read(). Stock flushes what is bad.
            (ReadLooks, Reader::In(section)) => {
                let bad = match section {
                    Section::Rcu => s.flag && !self.is_stock(),
                    _ => s.is_bad(),
                };
                s.reader = if bad {
                    leave_reader(s);
                    Reader::Out
                } else {
                    Reader::Good(section)
                };
            }
            // copy_mc_to_kernel(), arch_wb_cache_pmem().
            (ReadUses, Reader::Good(_)) => s.access(),
            (ReadEnds, Reader::Good(_)) => {
                leave_reader(s);
                s.reader = Reader::Out;
            }
            _ => return false,
        }
        true
    }

    /// A task that writes all of the page.
    pub(super) fn write(self, s: &mut State, step: Step) -> bool {
        match (step, s.writer) {
            (WriteBegins(how), Writer::Out) if s.left.writes > 0 && may_enter(s, how.section()) => {
                s.left.writes -= 1;
                s.how = how;
                s.writer = Writer::In;
            }
            // pmem_is_bad().
            (WriteLooks, Writer::In) => {
                s.writer = if s.is_bad() {
                    Writer::Bad
                } else {
                    Writer::Good
                };
            }
            // __pmem_clear_poison(): nvdimm_clear_poison(), ...
            (ClearPoison, Writer::Bad) => {
                s.poison = false;
                s.again = false;
                s.writer = Writer::Cleared;
            }
            // ... pmem_mkpage_present(), with poison_lock. In stock test_and_clear_pmem_poison().
            (MakePresent, Writer::Cleared) if s.lock.is_none() => {
                if s.flag {
                    self.map_page(s);
                    s.flag &= !self.is_stock();
                }
                s.writer = Writer::Present;
            }
            // pmem_clear_bb(): -EAGAIN, ...
            (ClearBegins, writer)
                if s.again
                    && !self.is_stock()
                    && !self.lacks(Guard::LookAgain)
                    && s.lock.is_none()
                    && writer == clears_at(s.how) =>
            {
                s.writer = Writer::Bad;
            }
            // ... or pmem_unmark_page() puts the page back once more, ...
            (ClearBegins, writer) if s.lock.is_none() && writer == clears_at(s.how) => {
                s.lock = Some(Task::Writer);
                if s.flag && !self.is_stock() && !self.lacks(Guard::MapAgain) {
                    self.map_page(s);
                }
                s.writer = Writer::Locked;
            }
            // ... and takes the flag, ...
            (Unflag, Writer::Locked) => {
                s.flag &= self.is_stock();
                s.writer = Writer::Unflagged;
            }
            // ... badblocks_clear(), and the lock goes.
            (Unlist, Writer::Unflagged) => {
                s.listed = false;
                s.lock = None;
                s.writer = match s.how {
                    Write::Recovery => Writer::Clean,
                    _ => Writer::Unlisted,
                };
            }
            // memcpy_flushcache(), of a good page, ...
            (WriteUses, Writer::Good) => s.access(),
            // ... one that is listed still, or one that was cleared.
            (WriteUses, Writer::Present) if s.how == Write::Recovery => {
                s.access();
                s.writer = Writer::Copied;
            }
            (WriteUses, Writer::Unlisted) => {
                s.access();
                s.writer = Writer::Clean;
            }
            (WriteEnds, Writer::Good | Writer::Clean) => {
                s.await_writer = false;
                s.writer = Writer::Out;
                s.how = Write::Zero;
            }
            _ => return false,
        }
        true
    }

    /// `pmem_map_page()`; `clear_mce_nospec()`.
    pub(super) fn map_page(self, s: &mut State) {
        s.hole = false;
        match self {
            Self::Ours(Some(Guard::Erase)) | Self::Stock { .. } => (),
            Self::Ours(_) => s.pending = None,
            Self::F4 => s.round += 1,
        }
    }
}

/// A reference for later use.
pub(super) fn gup(s: &mut State, step: Step) -> bool {
    match (step, s.gup) {
        // gup_fast_pte_range(): ptep_get(), ...
        (GupReadsPte, Gup::Out) if s.left.gups > 0 && s.pte => {
            s.left.gups -= 1;
            s.gup = Gup::SawPte;
        }
        // ... try_grab_folio_fast(), ...
        (GupGrabs, Gup::SawPte) => {
            s.pins += 1;
            s.gup = Gup::Grabbed;
        }
        // ... and the reference is dropped if the entry has changed.
        (GupLooksAgain, Gup::Grabbed) if s.pte => s.gup = Gup::Pinned,
        (GupLooksAgain, Gup::Grabbed) => {
            s.pins -= 1;
            s.gup = Gup::Out;
        }
        // follow_page_pte(), do_wp_page() of a private mapping: with the page table locked.
        (PinUnderLock, Gup::Out) if s.left.gups > 0 && s.pte => {
            s.left.gups -= 1;
            s.pins += 1;
            s.gup = Gup::Pinned;
        }
        // A bio's data, a pipe's, /proc/PID/mem, __wp_page_copy_user().
        (UsePin, Gup::Pinned) => s.access(),
        (Unpin, Gup::Pinned) => {
            s.pins -= 1;
            s.gup = Gup::Out;
        }
        _ => return false,
    }
    true
}

fn end_fault(s: &mut State) {
    s.entry = None;
    s.fault = Fault::Out;
}

fn leave_reader(s: &mut State) {
    s.await_reader = false;
}

/// A bio waits while the queue is frozen.
fn may_enter(s: &State, section: Section) -> bool {
    let frozen = matches!(
        s.worker,
        Worker::Frozen | Worker::Look | Worker::Unpinned | Worker::Thaw
    );
    section != Section::Queue || !frozen
}

/// From where `pmem_clear_bb()` is called: after the data was written, or before.
fn clears_at(how: Write) -> Writer {
    match how {
        Write::Recovery => Writer::Copied,
        Write::Zero | Write::Bio => Writer::Present,
    }
}
