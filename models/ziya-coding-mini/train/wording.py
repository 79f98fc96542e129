"""How tasks are asked for: sentence patterns in both languages, and the pools of function and argument names."""

EN = (
    "Write a function $f that $d.", "Write a Python function $f that $d.", "Implement a function $sig that $d.",
    "Create a function called $f that $d.", "Define $sig. It $d.", "Please write $sig, which $d.",
    "I need a Python function named $f that $d.", "Can you write a function $f that $d?",
    "$Imp. Name the function $f.", "$Imp in a function named $f.", "Give me code for $sig: it $d.",
    "Code a function $f which $d.", "In Python, write $sig that $d.", "Task: $imp. Use the function name $f.",
    "Help me write a function $f that $d.", "Using Python, implement $f, a function that $d.",
)
ZH = (
    "写一个函数 $f，$d。", "请写一个 Python 函数 $f，$d。", "实现函数 $sig，$d。", "用 Python 编写函数 $f，要求$d。",
    "定义一个名为 $f 的函数，$d。", "请实现 $sig：$d。", "帮我写一个函数 $f，$d。", "编写 $sig，$d。",
    "$d，函数名为 $f 。", "请用 Python $d，函数叫做 $f 。", "我需要一个函数 $f，它能$d。", "能不能写个函数 $f，$d？",
)
CLASS_EN = (
    "Write a class $f that $d.", "Implement a Python class $f which $d.", "Create a class named $f that $d.",
    "Define the class $f. It $d.", "I need a class $f that $d.", "Please write a class $f that $d.",
    "Can you code a class $f which $d?", "Help me write a Python class called $f that $d.",
)
CLASS_ZH = (
    "写一个类 $f，$d。", "请用 Python 实现类 $f，$d。", "定义一个名为 $f 的类，$d。", "编写类 $f，$d。", "帮我写一个类 $f，$d。",
    "我需要一个类 $f，$d。", "$d，类名为 $f 。",
)
# Asked by topic alone: the answer uses the family's first name and opens with one sentence.
BARE_EN = (
    "Write $t", "Write $t in Python", "Write $t.", "Implement $t in Python.", "Implement $t", "Show me $t in Python.",
    "Please write $t.", "Give me Python code for $t.", "Code $t", "How do I write $t in Python?", "Can you implement $t?",
    "I want $t in Python", "Write a piece of code for $t", "Write some Python for $t.", "$t in Python",
)
BARE_ZH = (
    "写一段$t", "写一个$t", "实现$t", "用 Python 实现$t", "请写一段$t", "请写一段$t代码", "帮我写一段$t", "写一段$t的代码",
    "用python写$t", "请用 Python 写$t。", "$t怎么写？", "给我一段$t代码", "写$t", "请实现$t。", "编写$t",
)
LEAD = {"en": "Here is $t in Python:\n", "zh": "下面是$t的 Python 实现：\n"}
DOCSTRING_TASK = "Please Complete the given function below according to the docstring: \n"

ARGUMENT_NAMES = {
    "list[int]": "nums numbers values arr data xs lst seq array elements entries scores digits ints series",
    "list[float]": "nums numbers values data samples points readings scores xs measures",
    "list[str]": "words strings names tokens texts terms labels lines phrases titles",
    "list": "items values data elements lst seq entries things objects parts stuff objs",
    "list[list]": "lists rows nested groups arrays parts",
    "list[tuple]": "pairs tuples items entries couples rows",
    "list[dict]": "records rows entries users people docs items dicts",
    "list[list[int]]": "matrix grid table mat board array2d field",
    "str": "text s string word phrase sentence content message value source raw txt",
    "int": "n num number x m value k integer q",
    "float": "x value v amount number y z",
    "dict": "d mapping data table info lookup store entries",
    "object": "func fn g h callback",
}
NAME_PREFIXES = "my do run calc compute get make solve task simple new fast the py try_".replace("_", "").split()
NAME_SUFFIXES = "fn func it v2 of_data helper impl py now here task demo tool main2 result for_me".split()
NAME_WORDS = """
alpha apple arrow atlas bacon badge basil beacon birch blaze bloom brick bridge cabin cactus candle canyon cedar chess
cider cliff cloud clover cobalt comet copper coral cosmos crane crystal daisy delta desert dragon eagle ember falcon
fern fable finch flame forest fossil galaxy garden ginger glacier globe granite harbor hazel heron honey indigo island
ivory jade jasper jungle karma kernel kiwi lagoon laser lemon lily linen lotus lunar magnet mango maple marble meadow
meteor mint mocha nebula nectar noble oasis ocean olive onyx opal orbit orchid otter panda pearl pepper phoenix pixel
planet plum polar prism quartz quest raven ripple river robin rocket ruby saffron salmon scout shadow sigma silver
solar spark spruce storm sugar summit sunset tango temple thunder tiger topaz tulip turbo umber valley vapor velvet
violet walnut willow winter zebra zenith process handle apply build collect fetch check scan update convert transform
""".split()
# What invented names are made of: a name of these has to be copied piece by piece.
SYLLABLES = tuple(a + b for a in "b c d f g h j k l m n p r s t v w z br ch dr fl gr pl qu sh st tr".split() for b in "a e i o u ar en il on us".split())
