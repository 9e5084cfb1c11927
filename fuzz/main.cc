#include "fuzz/driver.h"

int main(int argc, char** argv) { return aleph::fuzz::drive({argv + 1, argv + argc}); }
