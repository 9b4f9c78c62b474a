//! The matrix engine of the processor: AMX with bfloat16.
//!
//! Stable Rust has no intrinsics for it, so the instructions are inline assembly.

/// Whether `PRL_AMX=0` disables the engine, read once.
pub(crate) fn is_disabled() -> bool {
    static DISABLED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *DISABLED.get_or_init(|| std::env::var_os("PRL_AMX").is_some_and(|value| value == "0"))
}

/// Proof that this process may use AMX with bfloat16 and with 8-bit integers, and AVX-512 with
/// bfloat16 beside it.
///
/// The processor must have AMX-TILE, AMX-BF16 and AMX-INT8, the system must save the tile registers
/// at context switches, and Linux (5.16 or later) must permit their use, which
/// [`detect`](Self::detect) requests once for the whole process. A signal handler that runs on a
/// small alternative stack is the one thing to know: with the permission, the kernel saves 8 KiB
/// more there. Tile registers are configured for the duration of one piece of work and released
/// after it, so a waiting thread has no tile state to switch.
#[derive(Clone, Copy, Debug)]
pub struct Amx(());

/// Tile registers of this thread, configured until this is dropped. Work of the thread pool must
/// not be waited for meanwhile.
pub(crate) struct TileScope(std::marker::PhantomData<*const ()>);

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl TileScope {
    pub(crate) fn int8_products(&self, _: &[i8], _: usize, _: &[u8]) -> super::Block {
        unreachable!("AMX is never detected on this target")
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Amx {
    /// `None`: this target has no AMX.
    pub fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn run<W: super::TileWork>(self, _: W) -> W::Output {
        unreachable!("AMX is never detected on this target")
    }

    pub(crate) fn scope(self) -> TileScope {
        unreachable!("AMX is never detected on this target")
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native {
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::marker::PhantomData;
    use std::mem::transmute_copy;
    use std::sync::OnceLock;

    use bytemuck::Zeroable;
    use pulp::Simd;
    use pulp::x86::V4;

    use super::{Amx, TileScope};
    use crate::simd::tiles::{Block, Compared, SIDE, Tile, TileEngine, TileWork};

    impl Amx {
        /// The engine, if the processor has it and the system permits its use. Requests the
        /// permission at the first call.
        pub fn detect() -> Option<Self> {
            static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
            IS_AVAILABLE
                .get_or_init(|| has_instructions() && is_permitted())
                .then_some(Self(()))
        }

        /// Runs work with configured tile registers on the calling thread.
        pub(crate) fn run<W: TileWork>(self, work: W) -> W::Output {
            let simd = V4::try_new().expect("detection checks AVX-512");
            // SAFETY: `detect` has checked the instructions and the permission.
            unsafe { run_configured(simd, work) }
        }

        /// Configures the tile registers of this thread.
        pub(crate) fn scope(self) -> TileScope {
            // SAFETY: `detect` has checked the instructions and the permission.
            unsafe { configure() };
            TileScope(PhantomData)
        }
    }

    impl Drop for TileScope {
        fn drop(&mut self) {
            drop(Release);
        }
    }

    impl TileScope {
        /// Products of 16 rows of signed bytes with a panel of 64 items, unsigned bytes
        /// `[width / 4, 64, 4]`: sums of 32 bits, 16 items a tile.
        ///
        /// # Panics
        /// If the width is not a positive multiple of 64, or a slice has another length.
        #[inline]
        pub(crate) fn int8_products(&self, rows: &[i8], width: usize, panel: &[u8]) -> Block {
            const ROW: usize = 64;
            assert!(width > 0 && width.is_multiple_of(ROW));
            assert!(rows.len() == SIDE * width && panel.len() == width * ROW);
            let mut sums = [Tile::zeroed(); 4];
            // SAFETY: the tile registers are configured as whole tiles while a `TileScope` exists.
            // A step reads 64 bytes of each of the 16 rows, and 16 rows of 256 bytes of the panel.
            unsafe {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{rows} + {width}*1]",
                    "tileloadd tmm5, [{panel} + {items}*1]",
                    "tileloadd tmm6, [{panel} + {items}*1 + 64]",
                    "tdpbsud tmm0, tmm4, tmm5",
                    "tileloadd tmm7, [{panel} + {items}*1 + 128]",
                    "tdpbsud tmm1, tmm4, tmm6",
                    "tileloadd tmm5, [{panel} + {items}*1 + 192]",
                    "tdpbsud tmm2, tmm4, tmm7",
                    "tdpbsud tmm3, tmm4, tmm5",
                    "add {rows}, 64",
                    "add {panel}, 4096",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{sums} + {row}*1], tmm0",
                    "tilestored [{sums} + {row}*1 + 1024], tmm1",
                    "tilestored [{sums} + {row}*1 + 2048], tmm2",
                    "tilestored [{sums} + {row}*1 + 3072], tmm3",
                    rows = inout(reg) rows.as_ptr() => _,
                    panel = inout(reg) panel.as_ptr() => _,
                    steps = inout(reg) width / ROW => _,
                    sums = in(reg) sums.as_mut_ptr(),
                    width = in(reg) width,
                    items = in(reg) 256_usize,
                    row = in(reg) ROW,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
            sums
        }
    }

    /// AMX, AVX-512 with bfloat16, and the system's support of the state of both.
    fn has_instructions() -> bool {
        if V4::try_new().is_none() || !is_x86_feature_detected!("avx512bf16") {
            return false;
        }
        // EDX of leaf 7: AMX-BF16, AMX-TILE, AMX-INT8.
        const AMX: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        // Tile configuration and tile data in XCR0.
        const STATE: u64 = 1 << 17 | 1 << 18;
        let features = __cpuid_count(7, 0).edx;
        // SAFETY: AVX-512 is detected, so the system has enabled XSAVE.
        features & AMX == AMX && unsafe { enabled_state() } & STATE == STATE
    }

    /// XCR0.
    ///
    /// # Safety
    /// XSAVE must be enabled.
    #[target_feature(enable = "xsave")]
    unsafe fn enabled_state() -> u64 {
        // SAFETY: register 0 exists wherever XSAVE does.
        unsafe { _xgetbv(0) }
    }

    /// Requests the use of the tile registers from Linux; whether it is granted.
    fn is_permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
        const XTILEDATA: i64 = 18;
        let mut result = ARCH_PRCTL;
        // SAFETY: a system call with integers alone; it clobbers rcx and r11, and no memory.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XTILEDATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    /// Operand of `ldtilecfg`: eight whole tiles.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    const WHOLE_TILES: Config = {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            (row_bytes[tile], rows[tile]) = (64, SIDE as u8);
            tile += 1;
        }
        Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes,
            rows,
        }
    };

    /// Releases the tile registers, also when the work panics.
    struct Release;

    impl Drop for Release {
        fn drop(&mut self) {
            // SAFETY: exists only where AMX does.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
        }
    }

    /// Configures the tile registers of this thread as eight whole tiles.
    ///
    /// # Safety
    /// The processor has AMX, and the system permits it.
    unsafe fn configure() {
        // SAFETY: the caller vouches for AMX; nothing else in this process uses the tile registers.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &WHOLE_TILES, options(nostack, readonly, preserves_flags));
        }
    }

    /// # Safety
    /// The processor has AMX and the features named here, and the system permits AMX.
    #[target_feature(enable = "avx512f,avx512cd,avx512dq,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run_configured<W: TileWork>(simd: V4, work: W) -> W::Output {
        // SAFETY: the caller vouches for AMX.
        unsafe { configure() };
        let _release = Release;
        work.run(simd, Tiles(()))
    }

    /// The configured tile registers. Exists only within [`run_configured`].
    #[derive(Clone, Copy)]
    pub(crate) struct Tiles(());

    impl TileEngine for Tiles {
        #[inline(always)]
        fn multiply(self, a: &[Tile], b: &[Tile], c: &mut Block, accumulates: bool) {
            assert!(a.len() == b.len() && a.len().is_multiple_of(2) && !a.is_empty());
            let depth = a.len() / 2;
            // SAFETY: both halves of A and of B hold `depth` tiles, C four, and the tile registers
            // are configured as whole tiles while a `Tiles` exists.
            unsafe {
                let pointers = [
                    a.as_ptr(),
                    a.as_ptr().add(depth),
                    b.as_ptr(),
                    b.as_ptr().add(depth),
                ];
                if accumulates {
                    multiply_add_block(pointers, c.as_mut_ptr(), depth);
                } else {
                    multiply_block(pointers, c.as_mut_ptr(), depth);
                }
            }
        }

        #[inline(always)]
        fn multiply_parts(self, a: &[Tile], b: &[Tile], k: usize, c: &mut Block) {
            assert!(a.len() == b.len() && a.len().is_multiple_of(4) && k < a.len() / 4);
            let depth = a.len() / 4;
            // SAFETY: A and B hold four parts of `depth` tiles, C four tiles, and the tile
            // registers are configured as whole tiles while a `Tiles` exists. As the
            // configuration, the sums stay in the registers from one step to the next: the
            // compiler uses no tile registers, and the caller makes no other product.
            unsafe {
                if k == 0 {
                    zero_sums();
                }
                let parts = [0, depth, 2 * depth, 3 * depth];
                let a = parts.map(|part| a.as_ptr().add(part + k));
                let b = parts.map(|part| b.as_ptr().add(part + k));
                add_parts(a, b);
                if k + 1 == depth {
                    store_sums(c.as_mut_ptr());
                }
            }
        }

        #[inline(always)]
        fn join<S: Simd>(self, _: S, first: S::f32s, second: S::f32s) -> S::f32s {
            const { assert!(size_of::<__m512>() == 64) };
            // SAFETY: `S` is V4, since `run_configured` alone makes a `Tiles`, so that the vectors
            // are of 512 bits; AVX-512 with bfloat16 is there.
            unsafe {
                let order = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
                let halves = _mm512_cvtne2ps_pbh(transmute_copy(&second), transmute_copy(&first));
                let halves: __m512i = transmute_copy(&halves);
                transmute_copy(&_mm512_permutexvar_epi16(order, halves))
            }
        }

        #[inline(always)]
        fn transpose(self, tile: &Tile) -> Tile {
            let mut out = Tile::zeroed();
            // SAFETY: AVX-512 is there; rows are 64 bytes, of which there are 16 in each tile.
            unsafe {
                let mut rows = [_mm512_setzero_si512(); SIDE];
                for (r, row) in rows.iter_mut().enumerate() {
                    *row = _mm512_load_si512(tile.0.as_ptr().add(r * SIDE).cast());
                }
                let columns = transposed(rows);
                for (c, column) in columns.iter().enumerate() {
                    _mm512_store_si512(out.0.as_mut_ptr().add(c * SIDE).cast(), *column);
                }
            }
            out
        }

        // As the default, with masked additions.
        #[inline(always)]
        fn compare<S: Simd>(
            self,
            _: S,
            tile: &Tile,
            _: usize,
            bias: &[f32; SIDE],
            thresholds: [S::f32s; 2],
        ) -> Compared<S> {
            const { assert!(size_of::<__m512>() == size_of::<[f32; SIDE]>()) };
            // SAFETY: AVX-512 is there; `S` is V4, since `run_configured` alone makes a `Tiles`, so
            // that its vectors are of 512 bits. A tile has 16 rows of 64 bytes.
            unsafe {
                let thresholds: [__m512; 2] = [
                    transmute_copy(&thresholds[0]),
                    transmute_copy(&thresholds[1]),
                ];
                // Opaque: otherwise the negated mask is subtracted, in two operations.
                let one = _mm512_set1_epi32(std::hint::black_box(1));
                let mut counts = [_mm512_setzero_si512(); 2];
                let mut largest = _mm512_set1_ps(f32::NEG_INFINITY);
                for (r, &bias) in bias.iter().enumerate() {
                    let sums = _mm512_load_ps(tile.0.as_ptr().add(r * SIDE).cast());
                    let score = _mm512_add_ps(sums, _mm512_set1_ps(bias));
                    for (count, threshold) in counts.iter_mut().zip(thresholds) {
                        let reaches = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(score, threshold);
                        *count = _mm512_mask_add_epi32(*count, reaches, *count, one);
                    }
                    largest = _mm512_max_ps(largest, score);
                }
                Compared {
                    counts: [transmute_copy(&counts[0]), transmute_copy(&counts[1])],
                    largest: transmute_copy(&largest),
                }
            }
        }
    }

    /// Word 2j is word j of the lower half, word 2j + 1 that of the upper half.
    const INTERLEAVED: [u16; 32] = {
        let mut order = [0; 32];
        let mut word = 0;
        while word < 32 {
            order[word] = (word / 2 + word % 2 * 16) as u16;
            word += 1;
        }
        order
    };

    /// Transposes 16 x 16 words: pairs of words, pairs of pairs, then quarters of registers.
    ///
    /// # Safety
    /// AVX-512.
    #[inline(always)]
    unsafe fn transposed(rows: [__m512i; SIDE]) -> [__m512i; SIDE] {
        // SAFETY: the caller vouches for AVX-512.
        unsafe {
            let zero = _mm512_setzero_si512();
            let mut pairs = [zero; SIDE];
            for i in (0..SIDE).step_by(2) {
                pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
                pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
            }
            // quads[i + c]: column c of each quarter, rows i to i + 3.
            let mut quads = [zero; SIDE];
            for i in (0..SIDE).step_by(4) {
                quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
                quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
                quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
                quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
            }
            let mut columns = [zero; SIDE];
            for c in 0..4 {
                let even_a = _mm512_shuffle_i32x4::<0x88>(quads[c], quads[4 + c]);
                let odd_a = _mm512_shuffle_i32x4::<0xdd>(quads[c], quads[4 + c]);
                let even_b = _mm512_shuffle_i32x4::<0x88>(quads[8 + c], quads[12 + c]);
                let odd_b = _mm512_shuffle_i32x4::<0xdd>(quads[8 + c], quads[12 + c]);
                columns[c] = _mm512_shuffle_i32x4::<0x88>(even_a, even_b);
                columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even_a, even_b);
                columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd_a, odd_b);
                columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd_a, odd_b);
            }
            columns
        }
    }

    /// A function of a product of `[a0, a1]` and `[b0, b1]`, runs of `depth` tiles each, that
    /// begins with some instructions.
    macro_rules! product {
        ($name:ident, $($first:literal),+) => {
            /// # Safety
            /// Configured tile registers; `depth` tiles, at least one, at each pointer, and four
            /// at `c`.
            #[inline(always)]
            unsafe fn $name([a0, a1, b0, b1]: [*const Tile; 4], c: *mut Tile, depth: usize) {
                // SAFETY: the caller vouches for the registers and the memory.
                unsafe {
                    asm!(
                        $($first,)+
                        "2:",
                        "tileloadd tmm4, [{a0} + {row}*1]",
                        "tileloadd tmm6, [{b0} + {row}*1]",
                        "tileloadd tmm5, [{a1} + {row}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b1} + {row}*1]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        "add {a0}, 1024",
                        "add {a1}, 1024",
                        "add {b0}, 1024",
                        "add {b1}, 1024",
                        "dec {depth}",
                        "jnz 2b",
                        "tilestored [{c} + {row}*1], tmm0",
                        "tilestored [{c} + {row}*1 + 1024], tmm1",
                        "tilestored [{c} + {row}*1 + 2048], tmm2",
                        "tilestored [{c} + {row}*1 + 3072], tmm3",
                        a0 = inout(reg) a0 => _,
                        a1 = inout(reg) a1 => _,
                        b0 = inout(reg) b0 => _,
                        b1 = inout(reg) b1 => _,
                        c = in(reg) c,
                        row = in(reg) 64_usize,
                        depth = inout(reg) depth => _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        };
    }

    /// # Safety
    /// Configured tile registers.
    #[inline(always)]
    unsafe fn zero_sums() {
        // SAFETY: the caller vouches for the registers.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem, preserves_flags),
            );
        }
    }

    /// Adds `A B + A B' + A' B` of `[a0, a0', a1, a1']` and `[b0, b0', b1, b1']` to the sums.
    ///
    /// # Safety
    /// Configured tile registers, and a tile at each pointer.
    #[inline(always)]
    unsafe fn add_parts(
        [a0, a0_rest, a1, a1_rest]: [*const Tile; 4],
        [b0, b0_rest, b1, b1_rest]: [*const Tile; 4],
    ) {
        // SAFETY: the caller vouches for the registers and the memory.
        unsafe {
            asm!(
                "tileloadd tmm4, [{a0} + {row}*1]",
                "tileloadd tmm6, [{b0} + {row}*1]",
                "tileloadd tmm5, [{a1} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {row}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm6, [{b0_rest} + {row}*1]",
                "tileloadd tmm7, [{b1_rest} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{a0_rest} + {row}*1]",
                "tileloadd tmm6, [{b0} + {row}*1]",
                "tileloadd tmm5, [{a1_rest} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {row}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                a0 = in(reg) a0,
                a1 = in(reg) a1,
                b0 = in(reg) b0,
                b1 = in(reg) b1,
                a0_rest = in(reg) a0_rest,
                a1_rest = in(reg) a1_rest,
                b0_rest = in(reg) b0_rest,
                b1_rest = in(reg) b1_rest,
                row = in(reg) 64_usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    /// # Safety
    /// Configured tile registers, and four tiles at `c`.
    #[inline(always)]
    unsafe fn store_sums(c: *mut Tile) {
        // SAFETY: the caller vouches for the registers and the memory.
        unsafe {
            asm!(
                "tilestored [{c} + {row}*1], tmm0",
                "tilestored [{c} + {row}*1 + 1024], tmm1",
                "tilestored [{c} + {row}*1 + 2048], tmm2",
                "tilestored [{c} + {row}*1 + 3072], tmm3",
                c = in(reg) c,
                row = in(reg) 64_usize,
                options(nostack, preserves_flags),
            );
        }
    }

    product!(
        multiply_block,
        "tilezero tmm0",
        "tilezero tmm1",
        "tilezero tmm2",
        "tilezero tmm3"
    );
    product!(
        multiply_add_block,
        "tileloadd tmm0, [{c} + {row}*1]",
        "tileloadd tmm1, [{c} + {row}*1 + 1024]",
        "tileloadd tmm2, [{c} + {row}*1 + 2048]",
        "tileloadd tmm3, [{c} + {row}*1 + 3072]"
    );
}
