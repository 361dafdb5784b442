/// A tensor's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// For example `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes, the contiguous one first (GGUF's order): a matrix is `[columns, rows]`.
    pub dimensions: Vec<u64>,
    /// How the elements are stored.
    pub tensor_type: TensorType,
    /// Where the data begin, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes of data.
    pub size: u64,
}

impl Tensor {
    /// Number of elements. Does not overflow for tensors that [`crate::Gguf::read`] returned.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().fold(1, |product, size| product.saturating_mul(*size))
    }
}

macro_rules! tensor_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $elements:literal, $bytes:expr;)*) => {
        /// How a tensor's elements are stored (ggml's numbering, `enum ggml_type` in `ggml.h`;
        /// sizes of blocks from `ggml-common.h`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(non_camel_case_types)]
        pub enum TensorType {
            $($(#[$doc])* $name,)*
        }

        impl TensorType {
            /// Every type.
            pub const ALL: &[TensorType] = &[$(TensorType::$name,)*];

            /// As the field writes it: `Q4_1`.
            pub fn name(self) -> &'static str {
                match self {
                    $(TensorType::$name => stringify!($name),)*
                }
            }

            /// The format's number.
            pub fn number(self) -> u32 {
                match self {
                    $(TensorType::$name => $number,)*
                }
            }

            /// The type with this number.
            pub fn from_number(number: u32) -> Option<TensorType> {
                match number {
                    $($number => Some(TensorType::$name),)*
                    _ => None,
                }
            }

            /// Elements of a block.
            pub fn block_elements(self) -> u64 {
                match self {
                    $(TensorType::$name => $elements,)*
                }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> u64 {
                match self {
                    $(TensorType::$name => $bytes,)*
                }
            }
        }
    };
}

tensor_types! {
    /// 32-bit floats.
    F32 = 0, 1, 4;
    /// 16-bit floats.
    F16 = 1, 1, 2;
    /// 4 bits, scale per 32.
    Q4_0 = 2, 32, 2 + 16;
    /// 4 bits, scale and minimum per 32.
    Q4_1 = 3, 32, 2 + 2 + 16;
    /// 5 bits, scale per 32.
    Q5_0 = 6, 32, 2 + 4 + 16;
    /// 5 bits, scale and minimum per 32.
    Q5_1 = 7, 32, 2 + 2 + 4 + 16;
    /// 8 bits, scale per 32.
    Q8_0 = 8, 32, 2 + 32;
    /// 8 bits, scale and sum per 32.
    Q8_1 = 9, 32, 2 + 2 + 32;
    /// 2 bits in super-blocks of 256.
    Q2_K = 10, 256, 2 + 2 + 16 + 64;
    /// 3 bits in super-blocks of 256.
    Q3_K = 11, 256, 2 + 64 + 32 + 12;
    /// 4 bits in super-blocks of 256.
    Q4_K = 12, 256, 2 + 2 + 12 + 128;
    /// 5 bits in super-blocks of 256.
    Q5_K = 13, 256, 2 + 2 + 12 + 32 + 128;
    /// 6 bits in super-blocks of 256.
    Q6_K = 14, 256, 2 + 16 + 64 + 128;
    /// 8 bits in super-blocks of 256, for activations.
    Q8_K = 15, 256, 4 + 256 + 32;
    /// 2.06 bits, codebook.
    IQ2_XXS = 16, 256, 2 + 64;
    /// 2.31 bits, codebook.
    IQ2_XS = 17, 256, 2 + 64 + 8;
    /// 3.06 bits, codebook.
    IQ3_XXS = 18, 256, 2 + 64 + 32;
    /// 1.56 bits, codebook.
    IQ1_S = 19, 256, 2 + 32 + 16;
    /// 4 bits with unequal steps, scale per 32.
    IQ4_NL = 20, 32, 2 + 16;
    /// 3.44 bits, codebook.
    IQ3_S = 21, 256, 2 + 64 + 32 + 8 + 4;
    /// 2.56 bits, codebook.
    IQ2_S = 22, 256, 2 + 64 + 16;
    /// 4.25 bits with unequal steps, in super-blocks of 256.
    IQ4_XS = 23, 256, 2 + 2 + 128 + 4;
    /// 8-bit integers.
    I8 = 24, 1, 1;
    /// 16-bit integers.
    I16 = 25, 1, 2;
    /// 32-bit integers.
    I32 = 26, 1, 4;
    /// 64-bit integers.
    I64 = 27, 1, 8;
    /// 64-bit floats.
    F64 = 28, 1, 8;
    /// 1.75 bits, codebook.
    IQ1_M = 29, 256, 32 + 16 + 8;
    /// The upper half of 32-bit floats.
    BF16 = 30, 1, 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, 256, 2 + 48 + 4;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, 256, 2 + 64;
    /// 4-bit floats with a shared exponent per 32 (OCP microscaling).
    MXFP4 = 39, 32, 1 + 16;
    /// 4-bit floats with an 8-bit float scale per 16, four of them in a block.
    NVFP4 = 40, 64, 4 + 32;
    /// 1 bit, scale per 128.
    Q1_0 = 41, 128, 2 + 16;
}

impl TensorType {
    /// Bytes of a tensor with these dimensions, the contiguous one first; `None` where the first
    /// is not a multiple of the block or the number overflows.
    pub fn size_of(self, dimensions: &[u64]) -> Option<u64> {
        let (columns, rest) = dimensions.split_first()?;
        if !columns.is_multiple_of(self.block_elements()) {
            return None;
        }
        let row = (columns / self.block_elements()).checked_mul(self.block_bytes())?;
        rest.iter().try_fold(row, |product, size| product.checked_mul(*size))
    }
}
