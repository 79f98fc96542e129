# Sets CUDA_TOOLKIT_WORKS, NVCC, CUDA_INCLUDE and CUDART where there is a toolkit that can build the kernels: a compiler that knows C++20 and
# sm_90a, its headers and its static runtime. ZIYA_CUDA: auto builds without one that does not work and says so, on insists, off looks for none.
set(ZIYA_CUDA auto CACHE STRING "the CUDA backend: auto, on or off")
set(CUDA_TOOLKIT_WORKS OFF)
if(ZIYA_CUDA STREQUAL "off")
  return()
endif()

find_program(NVCC nvcc PATHS /usr/local/cuda/bin) # the one of PATH comes first
if(NOT NVCC)
  if(ZIYA_CUDA STREQUAL "on")
    message(FATAL_ERROR "ziya: error: ZIYA_CUDA=on, but nvcc was not found")
  endif()
  return()
endif()

get_filename_component(nvcc_path ${NVCC} REALPATH)
get_filename_component(toolkit ${nvcc_path}/../.. ABSOLUTE)
find_path(CUDA_INCLUDE cuda_runtime.h HINTS ${toolkit}/include ${toolkit}/targets/x86_64-linux/include /usr/local/cuda/include)
find_library(CUDART cudart_static HINTS ${toolkit}/lib64 ${toolkit}/targets/x86_64-linux/lib /usr/local/cuda/lib64)

# Only a success is kept: a toolkit that was repaired is tried again.
if(NOT ZIYA_NVCC_TRIED STREQUAL NVCC)
  set(try ${CMAKE_CURRENT_BINARY_DIR}/nvcc-try)
  file(WRITE ${try}.cu "#include <cuda_runtime.h>\n#include <concepts>\ntemplate <std::integral T> __global__ void one(T* x) { *x = 1; }\ntemplate __global__ void one(int*);\n")
  execute_process(COMMAND ${NVCC} -std=c++20 -gencode arch=compute_90a,code=sm_90a -c ${try}.cu -o ${try}.o
    RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(status EQUAL 0 AND CUDA_INCLUDE AND CUDART)
    set(ZIYA_NVCC_TRIED ${NVCC} CACHE INTERNAL "the compiler that was tried and works")
  endif()
endif()
if(ZIYA_NVCC_TRIED STREQUAL NVCC)
  set(CUDA_TOOLKIT_WORKS ON)
  return()
endif()

string(REGEX MATCH "[^\n]*(error|fatal)[^\n]*" reason "${said}")
if(NOT reason)
  set(reason "its headers or its static runtime are missing")
endif()
set(sentence "ziya: ${NVCC} cannot build the CUDA kernels (${reason})")
if(ZIYA_CUDA STREQUAL "on")
  message(FATAL_ERROR "${sentence}: error, because ZIYA_CUDA=on")
endif()
message(WARNING "${sentence}; this build runs on the CPU. ZIYA_CUDA=off silences this.")
