"""Names that have a meaning in C, or in a file of export_c: no function of a user's can have them.

What else export_c checks is in export.py.
"""

from __future__ import annotations

import re

# Keywords of C and C++, and the C library's functions and macros that compilers know unasked, or
# that the headers of an exported file declare. <math.h> has most of its own in three precisions.
_WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while main bool true false asm typeof alignas alignof and bitand bitor catch class compl
constexpr decltype delete explicit export friend mutable namespace new noexcept not nullptr operator
or private protected public template this throw try typeid typename using virtual xor
abort abs alloca atexit atof atoi atol atoll bsearch calloc div exit free getenv labs ldiv llabs
lldiv malloc qsort rand realloc setenv srand strtod strtof strtol strtold strtoll strtoul strtoull
system clearerr fclose feof ferror fflush fgetc fgets fopen fprintf fputc fputs fread freopen fscanf
fseek ftell fwrite getc getchar gets perror printf putc putchar puts remove rename rewind scanf
setbuf snprintf sprintf sscanf stderr stdin stdout tmpfile ungetc vfprintf vprintf vsnprintf
vsprintf index rindex bcmp bcopy bzero ffs memchr memcmp memcpy memmove memset stpcpy strcat strchr
strcmp strcpy strcspn strdup strlen strncat strncmp strncpy strndup strpbrk strrchr strspn strstr
isalnum isalpha isascii isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper
isxdigit toascii tolower toupper assert errno offsetof setjmp longjmp signal raise fork execl execv
isfinite isinf isnan isnormal isgreater isgreaterequal isless islessequal islessgreater isunordered
fpclassify signbit signgam complex imaginary
place place_from_end
"""
_OF_MATH = """
acos acosh asin asinh atan atan2 atanh cabs cacos cacosh carg casin casinh catan catanh cbrt ccos
ccosh ceil cexp cimag clog conj copysign cos cosh cpow cproj creal csin csinh csqrt ctan ctanh drem
erf erfc exp exp10 exp2 expm1 fabs fdim finite floor fma fmax fmin fmod frexp gamma hypot ilogb inf
infnan isinf isnan j0 j1 jn ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf
nan nearbyint nextafter nexttoward pow pow10 remainder remquo rint round scalb scalbln scalbn
significand sin sincos sinh sqrt tan tanh tgamma trunc y0 y1 yn
"""
_TAKEN = {*_WORDS.split()}
_TAKEN |= {name + suffix for name in _OF_MATH.split() for suffix in ("", "f", "l")}

# Types end in _t; capitals are macros'; the others are names in the file itself.
_PATTERN = re.compile(r"\w+_t|[A-Z][A-Z0-9_]*|\w+_(f32|f64)|w_\w*|w[0-9]+|linux|unix")


def has_meaning(name: str) -> bool:
    """Whether a name means something else in C, or in an exported file.

    >>> [has_meaning(name) for name in ("expf", "NULL", "while", "predict")]
    [True, True, True, False]
    """
    return name in _TAKEN or _PATTERN.fullmatch(name) is not None
