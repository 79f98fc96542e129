// Why a model folder is refused. Every reason has a code of its own, so that an operator reads what to repair.

export type ModelErrorCode =
  | 'model_file_missing'
  | 'model_file_unreadable'
  | 'model_file_too_large'
  | 'model_file_pointer'
  | 'config_invalid'
  | 'config_unsupported_architecture'
  | 'config_unsupported_quantization'
  | 'config_contradicts_itself'
  | 'config_missing_rope_theta'
  | 'config_unsupported_rope_scaling'
  | 'generation_config_invalid'
  | 'generation_config_unsupported'
  | 'adapter_config_invalid'
  | 'adapter_unsupported'
  | 'weights_index_invalid'
  | 'weights_truncated'
  | 'weights_header_too_large'
  | 'weights_header_invalid'
  | 'weights_dtype'
  | 'weights_size_mismatch'
  | 'weights_out_of_range'
  | 'weights_overlap'
  | 'weights_hole'
  | 'weights_duplicate_tensor'
  | 'weights_missing_tensor'
  | 'weights_unknown_tensor'
  | 'weights_contradict_config'
  | 'weights_are_an_adapter'
  | 'weights_shape'
  | 'weights_legacy_torch'
  | 'weights_zip_invalid'
  | 'weights_zip_unsupported'
  | 'weights_pickle_invalid'
  | 'weights_pickle_forbidden'
  | 'weights_storage_missing'
  | 'weights_not_contiguous'
  | 'weights_byte_order'
  | 'tokenizer_invalid'
  | 'tokenizer_unsupported'
  | 'tokenizer_vocabulary_mismatch'

export class ModelError extends Error {
  readonly code: ModelErrorCode

  constructor(code: ModelErrorCode, message: string) {
    super(message)
    this.name = 'ModelError'
    this.code = code
  }
}
