// SPDX-License-Identifier: GPL-2.0

//! `memory_failure()`, and the work that it leaves. Each function returns whether the step can be
//! taken now.

use super::state::{Notifier, Reader, Section, State, Task, Worker, Writer};
use super::steps::Step::{self, *};
use super::{Guard, Order};

impl Order {
    /// What follows the machine check.
    fn first(self) -> Notifier {
        if self.is_stock() || self.lacks(Guard::MarkFirst) {
            Notifier::LockEntry
        } else {
            Notifier::SetFlag
        }
    }

    /// `memory_failure()`, and what it calls.
    pub(super) fn notify(self, s: &mut State, step: Step) -> bool {
        match (step, s.notifier) {
            // The media fails; do_machine_check().
            (MachineCheck, _) if s.left.failures > 0 && !s.reported => {
                s.left.failures -= 1;
                s.poison = true;
                s.reported = true;
            }
            // memory_failure() takes mf_mutex.
            (Notify, Notifier::Idle) if s.reported => {
                s.reported = false;
                s.notifier = self.first();
            }
            // pmem_mark_page(): dev_page_set_hwpoison() with poison_lock, ...
            (SetFlag, Notifier::SetFlag) if s.lock.is_none() => {
                s.lock = Some(Task::Notifier);
                s.flag = true;
                s.again = true;
                s.notifier = Notifier::List;
            }
            // ... badblocks_set(), and the lock goes.
            (List, Notifier::List) => {
                s.lock = None;
                s.listed = true;
                if self == Self::F4 {
                    s.noted = s.round;
                    (s.await_reader, s.await_writer) = any_section(s);
                }
                s.notifier = match self {
                    Self::F4 => Notifier::Synchronize,
                    _ if self.lacks(Guard::MarkFirst) => Notifier::UnmapLater,
                    _ => Notifier::LockEntry,
                };
            }
            // dax_kill_collect(), in stock mf_dax_kill_procs(): dax_lock_mapping_entry().
            (LockEntry, Notifier::LockEntry) if s.owned => {
                if self.lacks(Guard::EntryLock) {
                    s.notifier = Notifier::Zap;
                    return true;
                }
                if s.entry.is_some() {
                    return false;
                }
                s.entry = Some(Task::Notifier);
                s.notifier = Notifier::Zap;
            }
            // The reverse mapping has no owner.
            (LockEntry, Notifier::LockEntry) => s.notifier = self.after_owners(),
            // unmap_mapping_pages(), dax_unlock_mapping_entry().
            (Zap, Notifier::Zap) => {
                s.flag |= self.is_stock();
                s.pte = false;
                if s.entry == Some(Task::Notifier) {
                    s.entry = None;
                }
                s.notifier = Notifier::Signal;
            }
            // dax_kill_procs(), in stock kill_procs().
            (Signal, Notifier::Signal) => s.notifier = self.after_owners(),
            // pmem_unmap_later().
            (UnmapLater, Notifier::UnmapLater) if s.lock.is_none() => {
                if s.flag {
                    s.pending = Some(s.round);
                    s.queued = true;
                }
                s.notifier = Notifier::Idle;
            }
            _ => return false,
        }
        true
    }

    /// What follows when the owners have been told.
    fn after_owners(self) -> Notifier {
        match self {
            Self::Ours(Some(Guard::MarkFirst)) => Notifier::SetFlag,
            Self::Ours(_) => Notifier::UnmapLater,
            Self::Stock { .. } => Notifier::SetMceNospec,
            Self::F4 => Notifier::Idle,
        }
    }

    /// What stock does after `memory_failure()` has returned 0.
    pub(super) fn stock(self, s: &mut State, step: Step) -> bool {
        match (step, s.notifier) {
            // uc_decode_notifier(), kill_me_maybe().
            (SetMceNospec, Notifier::SetMceNospec) => {
                s.hole = true;
                s.notifier = match self {
                    Self::Stock { nfit: true } => Notifier::NfitList,
                    _ => Notifier::Idle,
                };
            }
            // nfit_handle_mce() comes later in the chain: nvdimm_badblocks_populate().
            (NfitList, Notifier::NfitList) => {
                s.listed = true;
                s.notifier = Notifier::Idle;
            }
            _ => return false,
        }
        true
    }

    /// What F4's order does between marking a page and telling its holder: `pmem_mark_poison()`.
    pub(super) fn notify_f4(self, s: &mut State, step: Step) -> bool {
        match (step, s.notifier) {
            // dax_synchronize() returns true, ...
            (Synchronized, Notifier::Synchronize) if !s.await_reader && !s.await_writer => {
                s.notifier = Notifier::Unmap;
            }
            // ... or false, after a tenth of a second.
            (TimedOut, Notifier::Synchronize) => {
                (s.await_reader, s.await_writer) = (false, false);
                s.notifier = Notifier::LockEntry;
            }
            // set_mce_nospec() with poison_lock, if nothing was put back.
            (Unmap, Notifier::Unmap) if s.lock.is_none() => {
                s.hole |= s.flag && s.round == s.noted;
                s.notifier = Notifier::LockEntry;
            }
            _ => return false,
        }
        true
    }

    /// `pmem_unmap_work()`.
    pub(super) fn work(self, s: &mut State, step: Step) -> bool {
        match (step, s.worker) {
            // The workqueue runs it; unmap_round++ with poison_lock; dax_synchronize() begins.
            (WorkBegins, Worker::Idle) if s.queued && s.lock.is_none() => {
                s.queued = false;
                s.noted = s.round;
                s.round += 1;
                wait_for(s, Section::Srcu, self.lacks(Guard::Srcu));
                s.worker = Worker::Srcu;
            }
            // dax_synchronize() returns, synchronize_rcu() begins.
            (SrcuIsOver, Worker::Srcu) if !s.await_reader && !s.await_writer => {
                wait_for(s, Section::Rcu, self.lacks(Guard::Rcu));
                s.worker = Worker::Rcu;
            }
            (RcuIsOver, Worker::Rcu) if !s.await_reader && !s.await_writer => {
                s.worker = Worker::Freeze;
            }
            // blk_freeze_queue_start(): no bio enters any more.
            (FreezeQueue, Worker::Freeze) => {
                wait_for(s, Section::Queue, self.lacks(Guard::Queue));
                s.worker = Worker::Frozen;
            }
            // blk_mq_freeze_queue_wait().
            (QueueIsFrozen, Worker::Frozen) if !s.await_reader && !s.await_writer => {
                s.worker = Worker::Look;
            }
            // With poison_lock: xa_for_each(), xa_erase(), PageHWPoison(), pmem_page_pinned().
            (LookAtPins, Worker::Look) if s.lock.is_none() => {
                let due = match s.pending {
                    Some(round) => round <= s.noted || self.lacks(Guard::Round),
                    None => false,
                };
                let pinned = (s.pins > 0 || s.pte) && !self.lacks(Guard::Pinned);

                if due {
                    s.pending = None;
                }
                if due && s.flag && !pinned {
                    s.lock = Some(Task::Worker);
                    s.worker = Worker::Unpinned;
                } else {
                    s.worker = Worker::Thaw;
                }
            }
            // set_mce_nospec(), and the lock goes.
            (WorkUnmaps, Worker::Unpinned) => {
                s.hole = true;
                s.lock = None;
                s.worker = Worker::Thaw;
            }
            // blk_mq_unfreeze_queue().
            (ThawQueue, Worker::Thaw) => {
                s.noted = 0;
                s.worker = Worker::Idle;
            }
            _ => return false,
        }
        true
    }
}

/// The wait for a section begins, with the tasks that are in it now.
fn wait_for(s: &mut State, section: Section, skip: bool) {
    if !skip {
        (s.await_reader, s.await_writer) = s.inside(section);
    }
}

/// F4's `dax_synchronize()` waited for all: bios and flushes were in SRCU, too.
fn any_section(s: &State) -> (bool, bool) {
    (s.reader != Reader::Out, s.writer != Writer::Out)
}
