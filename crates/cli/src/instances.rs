//! In how many instances a composition runs.

use std::num::NonZero;

use trefoil_host::{INSTANCES_MAX, Program};

/// How many instances there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instances {
    /// So many, or an error.
    Asked(u32),
    /// As many as this where the composition can do it.
    AtMost(u32),
}

impl Instances {
    /// One for each physical core unless the user says otherwise: two threads on one core would
    /// wait for each other in every exchange.
    pub(crate) fn per_core(asked: Option<u32>) -> Self {
        // A container or an affinity mask may allow less than the machine has.
        let allowed = std::thread::available_parallelism().map_or(1, NonZero::get);
        let cores = num_cpus::get_physical().min(allowed) as u32;
        asked.map_or(Instances::AtMost(cores.clamp(1, INSTANCES_MAX)), Instances::Asked)
    }

    /// One unless the user says otherwise.
    pub(crate) fn one(asked: Option<u32>) -> Self {
        asked.map_or(Instances::AtMost(1), Instances::Asked)
    }

    /// The number to prepare for.
    pub(crate) fn wanted(self) -> u32 {
        match self {
            Instances::Asked(count) | Instances::AtMost(count) => count,
        }
    }

    /// Whether there may be fewer.
    pub(crate) fn may_be_one(self) -> bool {
        matches!(self, Instances::AtMost(_))
    }

    /// The number for this program. One that was asked for and is not possible is the host's to
    /// refuse.
    pub(crate) fn for_program(self, program: &Program) -> u32 {
        match self {
            Instances::AtMost(_) if !program.can_run_in_several_instances() => 1,
            instances => instances.wanted(),
        }
    }
}
