# ONNX Runtime: headers to compile against, and where to look for the library at run time. Nothing is linked: the
# library is opened on first use (src/model/runtime.h), so a program without a model does not need it.
#
# Looked for in this order, headers and library each:
#   -DONNXRUNTIME_ROOT=DIR (or the environment variable): DIR/include, DIR/lib, as in Microsoft's archives
#   system-wide: /usr/include/onnxruntime, /usr/local/include, …
#   third_party/node_modules, after `npm ci --ignore-scripts` in third_party
#
# Sets HW_ONNXRUNTIME_INCLUDE_DIR and HW_ONNXRUNTIME_LIBRARIES, a list of candidate files (may be empty).
set(ONNXRUNTIME_ROOT "$ENV{ONNXRUNTIME_ROOT}" CACHE PATH "ONNX Runtime with include/ and lib/")

set(hw_ort_npm "${CMAKE_SOURCE_DIR}/third_party/node_modules")
set(hw_ort_unity "${hw_ort_npm}/com.github.asus4.onnxruntime/Plugins")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(hw_ort_arch arm64)
else()
  set(hw_ort_arch x64)
endif()

set(hw_ort_include_hints)
set(hw_ort_library_hints)
if(ONNXRUNTIME_ROOT)
  list(APPEND hw_ort_include_hints ${ONNXRUNTIME_ROOT}/include ${ONNXRUNTIME_ROOT}/include/onnxruntime
       ${ONNXRUNTIME_ROOT}/include/onnxruntime/core/session)
  list(APPEND hw_ort_library_hints ${ONNXRUNTIME_ROOT}/lib ${ONNXRUNTIME_ROOT}/lib64 ${ONNXRUNTIME_ROOT})
endif()
list(APPEND hw_ort_include_hints /usr/local/include/onnxruntime /usr/include/onnxruntime
     /usr/include/onnxruntime/core/session /usr/local/include/onnxruntime/core/session)

# The npm package ships the headers with its iOS framework; they are the same on every platform.
set(hw_ort_include_npm "${hw_ort_unity}/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers")
set(hw_ort_library_npm "${hw_ort_unity}/Linux/${hw_ort_arch}"
    "${hw_ort_npm}/onnxruntime-node/bin/napi-v6/linux/${hw_ort_arch}")

unset(HW_ONNXRUNTIME_INCLUDE_DIR CACHE)  # npm ci may have run since the last configure
find_path(HW_ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h HINTS ${hw_ort_include_hints} PATHS ${hw_ort_include_npm}
          NO_CMAKE_FIND_ROOT_PATH)
if(NOT HW_ONNXRUNTIME_INCLUDE_DIR)
  message(FATAL_ERROR
    "The headers of ONNX Runtime are missing.\n"
    "Run `npm ci --ignore-scripts` in third_party, or point ONNXRUNTIME_ROOT at an unpacked release "
    "(it has include/ and lib/).")
endif()

set(HW_ONNXRUNTIME_LIBRARIES)
foreach(dir ${hw_ort_library_hints} ${hw_ort_library_npm})
  foreach(file libonnxruntime.so.1 libonnxruntime.so)
    if(EXISTS ${dir}/${file})
      list(APPEND HW_ONNXRUNTIME_LIBRARIES ${dir}/${file})
      break()
    endif()
  endforeach()
endforeach()
message(STATUS "ONNX Runtime headers: ${HW_ONNXRUNTIME_INCLUDE_DIR}")
message(STATUS "ONNX Runtime libraries by default: ${HW_ONNXRUNTIME_LIBRARIES}")
