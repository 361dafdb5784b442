//! Loops as compilers of WebAssembly want them.
//!
//! At the head of every loop wasmtime looks at the epoch, and keeps all values that the loop
//! carries in memory for the case that it must stop there. Straight code without that has another
//! fault: Cranelift moves arithmetic down to where its result is used and leaves loads where they
//! are, so that the results of all loads wait in registers, of which there are too few. Both are
//! cured by straight code with a way out behind each step: a branch on which all sums depend.
//!
//! Natively, where only tests run, loops are loops: they compile in a sixth of the time.

#[cfg(not(target_family = "wasm"))]
macro_rules! straight {
    ($count:expr, $k:ident => $body:block) => {
        for $k in 0..$count $body
    };
}

#[cfg(not(target_family = "wasm"))]
macro_rules! unrolled {
    ($item:pat in $items:expr => $body:block) => {
        for $item in $items $body
    };
}

/// Runs `$body` for `$k` from 0 to `$count - 1`, at most 31, as straight code. The ways out are
/// never taken, which the compilers must not know.
#[cfg(target_family = "wasm")]
macro_rules! straight {
    ($count:expr, $k:ident => $body:block) => {
        crate::straight::straight!($count, $k => $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
            17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    ($count:expr, $k:ident => $body:block, $($number:literal)*) => {{
        let steps = $count + crate::straight::unknown_zero();
        'all: { $(
            if $number >= $count || $number > 0 && $number == steps {
                break 'all;
            }
            let $k = $number;
            $body
        )* }
    }};
}

/// A `for` loop whose head is passed once for 16 items. Their number must be one that the
/// compilers do not know.
#[cfg(target_family = "wasm")]
macro_rules! unrolled {
    ($item:pat in $items:expr => $body:block) => {
        crate::straight::unrolled!($item in $items => $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($item:pat in $items:expr => $body:block, $($number:literal)*) => {{
        let mut items = $items;
        'all: loop { $(
            let _ = $number;
            let Some($item) = items.next() else { break 'all };
            $body
        )* }
    }};
}

/// Zero, which neither LLVM nor the runtime's compiler can know: the latter sees through
/// `black_box`, and knows what a memory location holds that was stored to before.
#[cfg(target_family = "wasm")]
#[inline(always)]
pub(crate) fn unknown_zero() -> usize {
    static ZERO: usize = 0;
    // SAFETY: a valid, initialised static.
    unsafe { std::ptr::read_volatile(&raw const ZERO) }
}

/// A value that the compilers leave in memory. What loops carry is there anyway ([`straight`]), but
/// moved back and forth at their heads; stores besides keep arithmetic in the order of the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InMemory<T>(T);

impl<T: Copy> InMemory<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> T {
        // SAFETY: a reference is valid to read.
        unsafe { std::ptr::read_volatile(&raw const self.0) }
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, value: T) {
        // SAFETY: an exclusive reference is valid to write.
        unsafe { std::ptr::write_volatile(&raw mut self.0, value) }
    }
}

pub(crate) use {straight, unrolled};
