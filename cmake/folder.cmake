# aleph_folder(NAME DEPS folder... LIBS target...)
#
# One static library aleph_NAME from aleph/NAME/**.cc and, where there are *_test.cc files, one test program NAME_tests.
# main.cc is left to the program. A folder without sources yet defines nothing.
function(aleph_folder name)
  cmake_parse_arguments(arg "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS aleph/${name}/*.cc)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cc$")
  if(NOT sources)
    return()
  endif()
  list(TRANSFORM arg_DEPS PREPEND aleph_)
  add_library(aleph_${name} STATIC ${sources})
  target_link_libraries(aleph_${name} PUBLIC ${arg_DEPS} ${arg_LIBS} PRIVATE aleph_options)
  target_include_directories(aleph_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  if(ALEPH_TESTS AND tests)
    aleph_test(${name}_tests ${tests})
    target_link_libraries(${name}_tests PRIVATE aleph_${name})
  endif()
endfunction()

# aleph_test(NAME source...): a GoogleTest program whose cases ctest lists one by one.
# Worker threads yield at once (GOMP_SPINCOUNT): spinning on busy cores costs milliseconds per fork.
function(aleph_test name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE aleph_options GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE ALEPH_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
    PROPERTIES ENVIRONMENT "GOMP_SPINCOUNT=2000" LABELS fast TIMEOUT 300)
endfunction()
