// Copies between the two orders of a matrix, converting the type.
#pragma once

#include "aleph/tensor/tensor.h"

namespace aleph::models {

/// dst = src, elementwise; fp32, bf16 or fp16.
void convert_elements(const ConstTensorView& src, const TensorView& dst);

/// dst [rows, columns] = rows of the transpose of src [columns, all_rows], from row_begin on.
void convert_transposed(const ConstTensorView& src, int64_t row_begin, const TensorView& dst);

}  // namespace aleph::models
