# aleph_version(TARGET): compiles aleph/base/version.cc.in, filled with version and commit, into TARGET. It is filled
# again whenever git moves HEAD, so a commit costs one small file and a link. Run as a script, this file does the filling.
if(CMAKE_SCRIPT_MODE_FILE)
  execute_process(COMMAND git -c safe.directory=* rev-parse --short=12 HEAD WORKING_DIRECTORY ${SOURCE_DIR}
    OUTPUT_VARIABLE ALEPH_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed)
    set(ALEPH_COMMIT unknown)
  endif()
  configure_file(${SOURCE_DIR}/aleph/base/version.cc.in ${OUTPUT} @ONLY)
  file(TOUCH ${OUTPUT})
  return()
endif()

function(aleph_version target)
  set(output ${CMAKE_BINARY_DIR}/generated/version.cc)
  execute_process(COMMAND git -c safe.directory=* rev-parse --git-path logs/HEAD WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  cmake_path(ABSOLUTE_PATH head BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(IS_DIRECTORY "${head}" OR NOT EXISTS "${head}")
    set(head "")
  endif()
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${CMAKE_SOURCE_DIR} -DOUTPUT=${output} -DALEPH_VERSION=${PROJECT_VERSION}
      -P ${CMAKE_SOURCE_DIR}/cmake/version.cmake
    DEPENDS ${CMAKE_SOURCE_DIR}/aleph/base/version.cc.in ${CMAKE_SOURCE_DIR}/cmake/version.cmake ${head}
    COMMENT "Noting version and commit" VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
